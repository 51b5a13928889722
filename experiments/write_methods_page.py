"""Write the list of methods in docs/methods.md anew, from the cards and classes in methods/: `make docs`."""

from pathlib import Path

from harness.report.methods_page import with_methods
from harness.results.files import write_atomically

PAGE = Path(__file__).parents[1] / "docs" / "methods.md"


def main() -> None:
    """Write the page, and say whether it changed."""
    old = PAGE.read_text(encoding="utf-8")
    new = with_methods(old)
    if new != old:
        write_atomically(PAGE, new.encode())
    print(f"{PAGE.name}: {'written' if new != old else 'as it was'}")


if __name__ == "__main__":
    main()
