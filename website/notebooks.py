"""Shows the notebooks in docs/notebooks as pages of the site; a hook of mkdocs, see mkdocs.yml."""

import base64
import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, config: Any) -> Files:
    """Adds a page, and its figures, for each notebook."""
    for notebook in [f for f in files if f.src_uri.endswith(".ipynb")]:
        page = notebook.src_uri.removesuffix(".ipynb")
        content = json.loads(Path(notebook.abs_src_path).read_text())
        text, figures = _page(content, Path(notebook.src_uri).name)
        files.append(File.generated(config, f"{page}.md", content=text))
        for name, figure in figures.items():
            uri = f"{Path(notebook.src_uri).parent.as_posix()}/{name}"
            files.append(File.generated(config, uri, content=figure))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to a notebook lead to its page; the page has the link to the file."""
    return re.sub(r"(\]\([\w./]+)\.ipynb\)", r"\1.md)", markdown)


def _page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """The notebook as Markdown, and its figures by file name."""
    parts: list[str] = []
    figures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if png := data.get("image/png"):
                figure = f"{name.removesuffix('.ipynb')}_{len(figures) + 1}.png"
                figures[figure] = base64.b64decode(png)
                parts.append(f"![Figure drawn by the cell above]({figure})")
            elif text := output.get("text") or data.get("text/plain"):
                parts.append(f"```{{ .text .output }}\n{''.join(text).rstrip()}\n```")
    file = f'<a href="../{name}" download>The notebook as a file</a>'
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{file}\n{rest}\n", figures
