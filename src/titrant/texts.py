"""Every text that a person reads passes through `say`, so that another language needs a catalogue and no change of code.

The English sentence itself is the key, as in GNU gettext: `xgettext --keyword=say` collects the sentences, and a compiled
catalogue in `titrant/locales/LANGUAGE/LC_MESSAGES/titrant.mo` translates them for the languages named by the environment
(`LANGUAGE`, `LC_ALL`, `LC_MESSAGES`, `LANG`). Placeholders are named, because word order differs between languages.
"""

import gettext
from pathlib import Path

_catalogue = gettext.translation("titrant", localedir=Path(__file__).parent / "locales", fallback=True)


def say(sentence: str, **values: object) -> str:
    """The sentence in the person's language, with its named placeholders filled in.

    Args:
        sentence: an English sentence with `str.format` placeholders, always a literal so that tools can collect it.
        values: what the placeholders stand for.

    Example:
        >>> say("The column {name!r} is constant.", name="age")
        "The column 'age' is constant."
    """
    translated = _catalogue.gettext(sentence)
    return translated.format(**values) if values else translated
