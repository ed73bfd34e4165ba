"""Write the golden messages anew; look at the difference before it is committed.

Run it from the checkout: `python -m tests.notify.refresh_golden`.
"""

from __future__ import annotations

from tests.notify.golden import DIRECTORY, texts


def main() -> None:
    """Replace the files, and remove those of messages that are no more."""
    DIRECTORY.mkdir(exist_ok=True)
    written = dict(texts())
    for path in DIRECTORY.iterdir():
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (DIRECTORY / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
