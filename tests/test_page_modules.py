"""The page's modules as one file."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from imagewarehouse.analytics.page_files import PAGE, page_files
from imagewarehouse.analytics.page_modules import joined

MODULES = {
    "main.js": "import { twice as double } from './much-more.js';\nimport * as words from './words.js';\n"
    "const own = 'main';\nconsole.log(own, double(words.ONE), new words.Word().text, words.own);\n",
    "much-more.js": "import { ONE } from './words.js';\nconst own = 'more';\n"
    "export function twice(x) {\n    return x + ONE;\n}\nexport async function later() {}\n",
    "words.js": "export const ONE = 1;\nexport class Word {\n    text = own;\n}\nconst own = 'word';\nexport { own };\n",
    "alone.js": "console.log('nobody imports this');\n",
}


def test_joined_modules_do_what_they_did() -> None:
    one = joined(MODULES, "main.js")
    assert "nobody" not in one
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node to run it")
    ran = subprocess.run([node, "--input-type=module", "-"], input=one, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("main 2 word word\n", "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        pytest.param({"words.js": "import { twice } from './much-more.js';"}, "in a circle", id="circle"),
        pytest.param({"words.js": "import { x } from './gone.js';"}, "gone.js is not there", id="missing"),
        pytest.param({"words.js": "export default 1;"}, "export default 1;", id="default"),
        pytest.param({"words.js": "export let x = 1;"}, "export let x", id="a-name-that-changes"),
        pytest.param({"words.js": "import './much-more.js';"}, "import './much-more.js';", id="for-its-effect"),
        pytest.param({"words.js": "const x = () => import('./alone.js');"}, "import(", id="late"),
    ],
)
def test_what_is_not_understood_is_refused(changed: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        joined({**MODULES, **changed}, "main.js")


def test_the_page_is_one_module_with_all_of_its_own() -> None:
    files = page_files()
    assert re.findall(r'<script.*? src="([^"]+)"', files["/"].content.decode()) == ["assets/theme.js", "assets/main.js"]
    whole = files["/assets/main.js"].content.decode()
    assert not re.search(r"^(import|export)\b", whole, re.MULTILINE)
    modules = [path for path in (PAGE / "assets").glob("*.js") if path.name != "theme.js"]
    assert len(modules) > 20
    for path in modules:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert whole.count(first) == 1, path.name


def test_the_page_knows_whether_a_key_is_needed() -> None:
    assert b"data-access" not in page_files()["/"].content
    assert b' data-access="key" ' in page_files(guarded=True)["/"].content
    assert b'<html data-serves="search image" ' in page_files(serves=["search", "image"])["/"].content
    assert page_files(guarded=True)["/"].tag != page_files()["/"].tag
