"""`python -m npdraw`."""

from npdraw.cli import main

if __name__ == "__main__":
    main()
