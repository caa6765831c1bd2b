#!/usr/bin/env python3
"""The size limits of the house style: non-test lines of a file, lines of a function, a `//!` on every module, main.rs as wiring.

Test files do not count, and files end, for this count, at their `#[cfg(test)]` module. Functions over 80 lines are found by clippy (too_many_lines).
"""
import pathlib
import subprocess
import sys

FILE_LINES, MAIN_LINES, TYPESCRIPT_LINES = 500, 150, 500
root = pathlib.Path(__file__).resolve().parent.parent


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", *patterns], cwd=root, check=True, capture_output=True, text=True)
    return [root / name for name in out.stdout.split("\0") if name and (root / name).exists()]


def own_lines(path):
    lines = path.read_text().splitlines()
    cut = next((i for i, line in enumerate(lines) if line.strip() == "#[cfg(test)]"), len(lines))
    return lines[:cut]


problems, sizes = [], []
for path in tracked("*.rs"):
    name = str(path.relative_to(root))
    if path.name == "tests.rs" or "/tests/" in f"/{name}" and not name.startswith("tests/src"):
        continue
    lines = own_lines(path)
    sizes.append(len(lines))
    limit = MAIN_LINES if path.name == "main.rs" else FILE_LINES
    if len(lines) > limit:
        problems.append(f"{name}: {len(lines)} lines before its tests, at most {limit}")
    if not any(line.startswith("//!") for line in lines[:5]):
        problems.append(f"{name}: does not open with //!")
for path in tracked("dashboard/src/*.ts", "dashboard/src/*.tsx", "dashboard/src/**/*.ts", "dashboard/src/**/*.tsx"):
    lines = path.read_text().splitlines()
    if len(lines) > TYPESCRIPT_LINES:
        problems.append(f"{path.relative_to(root)}: {len(lines)} lines, at most {TYPESCRIPT_LINES}")
print("\n".join(problems) or f"sizes: {len(sizes)} Rust files, median {sorted(sizes)[len(sizes) // 2]} lines, largest {max(sizes)}")
sys.exit(bool(problems))
