"""Sphinx: `sphinx-build -W --keep-going -b html docs site`"""

import re

# Imported before autodoc does it: autodoc sets `TYPE_CHECKING` meanwhile, which FastAPI does not survive.
import mistral_client.server.app  # noqa: F401
from mistral_client import __version__

project = "mistral-client"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
# Lines of code up to 98 characters are seen whole.
html_theme_options = {"light_css_variables": {"code-font-size": "0.75rem"}}
html_title = f"{project} {release}"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3

# Of `Literal["text"]` a reference is made, and more than one attribute is called so.
suppress_warnings = ["ref.python"]

default_role = "code"
add_module_names = False
python_maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "exclude-members": "model_config, model_post_init",
}

_ABOUT = re.compile(r"([a-z_]\w*(?:(?:, | and )[a-z_]\w*)*): (.*)")


def _as_rst(_app, _what, _name, _object, _options, lines):
    """Docstrings here are plain text. Their lines `name: meaning` become a list."""
    given, lines[:] = list(lines), []
    for line in given:
        about = _ABOUT.fullmatch(line)
        in_list = bool(lines) and lines[-1].startswith(("* ", "  "))
        if about:
            lines.append(f"* **{about[1]}**: {about[2]}")
        elif in_list and line:
            lines += ["", line] if line.startswith("Raises ") else [f"  {line.strip()}"]
        else:
            lines.append(line)


def _no_constructor(_app, what, *_):
    """Nobody builds errors, they are caught."""
    return ("", "") if what == "exception" else None


def setup(app):
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("autodoc-process-signature", _no_constructor)
