"""The studio: a page in the browser to draw with a model, served on this machine only.

`page/` holds the HTML, CSS and JavaScript of the page, without a build step. `easel` answers its
requests about drawings, `guard` refuses requests from anyone else, `app` combines the two, and
`server` runs until it is stopped. They need the extra `npdraw[studio]`.
"""
