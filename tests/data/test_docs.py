"""Do the examples of the data page run as they stand?"""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_examples_of_the_page_run_in_order_and_print_what_they_say(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    printed = capsys.readouterr().out
    assert "[('good day', 'goeden dag'), ('thank you', 'dank je')]" in printed
    assert "read 2 pairs; skipped 2 lines: 1 without a tab, 1 with an empty side" in printed
    assert names["state"] == {"epoch": 0, "window": 0, "batch": 3, "windows": 1}
