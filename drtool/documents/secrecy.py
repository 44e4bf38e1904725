"""Finding passwords where they must not be: in a document's text, or in files that others can read."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

LITERAL = "a literal password is refused"
KEEP_IT_IN_A_FILE = "keep it in a file that only its owner can read, and name that file"

_WORD = r"(?:password|passwd|passphrase|secret|token|api[-_]?key)"
_VALUE = r"""["']?(?![\s"'$])."""
_NAMED_ELSEWHERE = r"(?![\w-]*[-_](?:file|command|cmd|fd|env)\b)"
_OPTION = re.compile(rf"--?{_NAMED_ELSEWHERE}[\w-]*{_WORD}[\w-]*={_VALUE}", re.IGNORECASE)
_VARIABLE = re.compile(rf"{_NAMED_ELSEWHERE}(?:[A-Za-z_]\w*)?(?:{_WORD}|MYSQL_PWD)\w*={_VALUE}", re.IGNORECASE)
_BARE_OPTION = re.compile(rf"--?[\w-]*{_WORD}\Z", re.IGNORECASE)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:(?![$@])[^/\s]*@", re.IGNORECASE)
_URL_QUERY = re.compile(rf"[?&][\w-]*(?:{_WORD}|pass|pwd)[\w-]*={_VALUE}", re.IGNORECASE)
_MYSQL = re.compile(r"(?:mysql|mariadb|mariabackup|xtrabackup|innobackupex)[\w-]*\Z")
_SHORT_OPTION = re.compile(r"""-p["']?(?![\s"'$]).+""")
_SECRET_KEY = re.compile(rf"(?:{_WORD}|access_key|pass|pwd)", re.IGNORECASE)


def names_a_secret(key: str) -> bool:
    """Whether a key sounds as if its value were a password."""
    return _SECRET_KEY.search(key) is not None


def url_holds_password(url: str) -> bool:
    """``scheme://user:password@host`` or a password in the query."""
    return _URL.search(url) is not None or _URL_QUERY.search(url) is not None


def arguments_with_password(argv: Sequence[str]) -> Iterator[int]:
    """The positions in a command line that hold a literal password.

    Looks into shell strings too. A value that begins with ``$`` is a reference, not a literal.
    """
    mysql = False
    for index, argument in enumerate(argv):
        words = argument.split() or [""]
        found = url_holds_password(argument)
        for word in words:
            mysql = mysql or _MYSQL.match(PurePath(word).name) is not None
            found = found or _word_holds_password(word, mysql=mysql)
        follower = argv[index + 1 : index + 2]
        if _BARE_OPTION.match(words[-1]) and follower and not follower[0].startswith(("-", "$")):
            found = True
        if found:
            yield index


def _word_holds_password(word: str, *, mysql: bool) -> bool:
    bare = word.lstrip("\"'")
    if _OPTION.match(bare) or _VARIABLE.match(bare):
        return True
    return mysql and _SHORT_OPTION.match(bare) is not None


def secret_file_complaint(path: Path, *, user: int) -> str | None:
    """Why this file cannot be trusted to keep this user's secret; ``None`` where it can."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return "no such file; create it with mode 0600"
    except OSError as error:
        return f"the file cannot be looked at: {str(error.strerror).lower()}"
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if found.st_uid not in (0, user):
        return f"the file belongs to another user; run: chown {user} {shlex.quote(str(path))}"
    if found.st_mode & 0o077:
        return f"others than its owner can read the file; run: chmod 600 {shlex.quote(str(path))}"
    return None
