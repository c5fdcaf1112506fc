"""Write the golden documents anew, or with ``--compare`` compare all of them digit by digit."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


def main() -> int:
    """Exit code 1 if a document that is compared differs from the one that is kept."""
    from commands import exact_documents, measured_documents

    differing = []
    for name, make in (("exact", exact_documents), ("measured", measured_documents)):
        with tempfile.TemporaryDirectory() as directory:
            text = json.dumps(make(Path(directory)), indent=1, sort_keys=True) + "\n"
        path = HERE / f"{name}.json"
        if "--compare" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif (made := json.loads(text)) != (kept := json.loads(path.read_text(encoding="utf-8"))):
            differing += [key for key in {*made, *kept} if made.get(key) != kept.get(key)]
            (Path(tempfile.gettempdir()) / f"golden-{name}.json").write_text(text, encoding="utf-8")
    for key in sorted(differing):
        print(f"differs: {key}")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
