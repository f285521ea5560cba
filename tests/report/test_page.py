"""The page loads nothing from elsewhere, and nothing in the data escapes into its HTML."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from npdraw.report import MOST_BYTES
from npdraw.report.render import ENVIRONMENT, TEMPLATES
from tests.report.pages import ODD, Page, log_of


def test_page_loads_nothing_and_allows_only_its_own_style_and_script(
    run: Path, written: Callable[..., Page]
) -> None:
    page = written(run)
    text = page.content.decode()
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style"
            if name in ("src", "href", "srcset", "action", "data"):
                assert value is not None and value.startswith(("data:", "#"))
    policy = page.meta["Content-Security-Policy"]
    hashes = {
        tag: base64.b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1].encode()).digest()  # type: ignore[index]
        ).decode()
        for tag in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes['style']}'; "
        f"script-src 'sha256-{hashes['script']}'; base-uri 'none'; form-action 'none'"
    )
    assert page.elements[1][0] == "head" and page.elements[3][1]["http-equiv"]  # before anything
    assert all(image.get("alt") is not None for image in page.named("img"))
    assert len(page.content) < MOST_BYTES


def test_names_and_values_are_escaped(
    copy: Callable[[str], Path], written: Callable[..., Page]
) -> None:
    run, other = copy(ODD), copy("b")
    evaluation = json.loads((run / "eval.json").read_text())
    evaluation |= {"estimator": ODD, "binarization": f"</script>{ODD}"}
    evaluation["settings"] |= {"precision": ODD, "data": ODD, "seed": {"x": ODD}}
    (run / "eval.json").write_text(json.dumps(evaluation))
    log_of(run, "prior").write_text(json.dumps({"step": ODD, ODD: 1}) + '\n{"step":1,"x":"<b>"}')
    (run / "model.safetensors").unlink()
    (run / "model.safetensors.run/config.json").write_text(
        json.dumps({"decoder": {ODD: ODD, "steps": [ODD, [ODD]]}, ODD: ODD, "source": "/secret"})
    )
    more = {"label", "h3", "h4", "thead", "tfoot"}  # of several runs, and of missing pieces
    plain = Page(written(other, name="plain.html").content)
    for page in (written(run), written(run, other)):
        text = page.content.decode()
        assert ODD not in text.replace("&#39;", "'")
        assert ODD in page.texts["title"][0] or ODD in "".join(page.texts["h1"])
        assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | more
        assert page.row("Estimator")[0] == ODD
        assert page.row(ODD)[0] == ODD
        assert text.count("<script") == 2 - (not page.drawings)
        assert "/secret" not in text
    assert '"a\\u003cscript' in page.content.decode() or ODD not in str(page.drawings)
    labels = [entry["label"] for entry in written(other, copy(f"x{ODD}")).drawings]
    assert f"x{ODD}: sample 0" in labels


def shown(source: str, **values: object) -> str:
    """Render the source of a template."""
    return ENVIRONMENT.from_string(source).render(values)


def test_templates_escape_values() -> None:
    assert shown('<p title="{{ x }}">{{ x }}', x="\"'<&") == (
        '<p title="&#34;&#39;&lt;&amp;">&#34;&#39;&lt;&amp;'
    )
    assert shown("{{ x }}", x="a\ud800\x00\u202eb") == "a\\ud800\\x00\\u202eb"
    macro = "{% macro italic(x) %}<i>{{ x }}</i>{% endmacro %}{{ italic(x) }}"
    assert shown(macro, x="<b>&") == "<i>&lt;b&gt;&amp;</i>"
    with pytest.raises(UndefinedError, match="'x' is undefined"):
        shown("{{ x }}")


def test_json_in_templates_cannot_end_its_script() -> None:
    values = ["</script><!--", "&", "\u2028\ud800", 1.5, {"b": 1, "a": 2}]
    block = shown("{{ x | tojson }}", x=values)
    assert json.loads(block) == values
    assert block.isascii() and not set(block) & set("<>&")
    with pytest.raises(ValueError):
        shown("{{ x | tojson }}", x=math.nan)


def test_only_our_own_style_and_script_are_not_escaped() -> None:
    templates = "".join(path.read_text() for path in sorted(TEMPLATES.iterdir()))
    assert re.findall(r"(\w+) *\| *safe\b", templates) == ["style", "script"]
    assert "autoescape" not in templates
    for path in TEMPLATES.parent.glob("*.py"):
        assert "markup" not in path.read_text().lower(), path
