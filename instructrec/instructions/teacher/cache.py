"""What a teacher replied, kept in an SQLite file under a digest of what it was asked.

Derived in chapter `instruction-generation`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instructrec.errors import InputError


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint answered.

    Attributes:
        text: The words, at most 20,000 characters.
        finish: Why it ended, in the endpoint's own word: "stop" where it was done.
        tokens: Tokens of prompt and reply together.
    """

    text: str
    finish: str
    tokens: int


class Cache:
    """Replies by the digest of what was asked, in one SQLite file that several processes may share."""

    APPLICATION = 0x49525431  # marks the file as ours
    LAYOUT = 1

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        with self._transaction() as database:
            mark, layout, tables = (
                database.execute(question).fetchone()[0]
                for question in (
                    "PRAGMA application_id",
                    "PRAGMA user_version",
                    "SELECT count(*) FROM sqlite_master",
                )
            )
            if (mark, layout) == (self.APPLICATION, self.LAYOUT):
                return
            if tables or mark:
                raise InputError(
                    f"cache {str(self.path)!r} is a database of something else; give another path, or none yet there"
                )
            database.execute(f"PRAGMA application_id = {self.APPLICATION}")
            database.execute(f"PRAGMA user_version = {self.LAYOUT}")
            database.execute(
                "CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, "
                "reply TEXT NOT NULL, finish TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID"
            )
            database.execute(
                "CREATE TABLE runs (run TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the replies that are there."""
        asked, found = list(keys), {}
        with self._errors():
            for start in range(0, len(asked), 500):  # SQLite bounds the number of values in one question
                some = asked[start : start + 500]
                rows = self._database.execute(
                    f"SELECT key, reply, finish, tokens FROM replies WHERE key IN ({','.join('?' * len(some))})",
                    some,
                )
                found.update({key: Reply(*rest) for key, *rest in rows})
        return found

    def put(self, key: str, model: str, prompt: str, reply: Reply, run: str) -> Reply:
        """Keep a reply for good and return the one that counts: the first, if another process was faster."""
        with self._errors(), self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                (key, model, prompt, reply.text, reply.finish, reply.tokens),
            )
            database.execute(
                "INSERT INTO runs VALUES (?, 1, ?) "
                "ON CONFLICT (run) DO UPDATE SET requests = requests + 1, tokens = tokens + excluded.tokens",
                (run, reply.tokens),
            )
            row = database.execute(
                "SELECT reply, finish, tokens FROM replies WHERE key = ?", (key,)
            ).fetchone()
        return Reply(*row)

    def spent(self, run: str) -> tuple[int, int]:
        """Return how many requests and tokens a run has used up, in all of its processes."""
        with self._errors():
            row = self._database.execute("SELECT requests, tokens FROM runs WHERE run = ?", (run,)).fetchone()
        return row or (0, 0)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.rollback()
            raise
        self._database.execute("COMMIT")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error
        except sqlite3.OperationalError as error:
            raise self._error(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"cache {str(self.path)!r} is no sound SQLite database ({error}); give another path, or move it away"
            ) from error

    def _error(self, reason: str) -> InputError:
        return InputError(
            f"cannot keep replies in cache {str(self.path)!r}: {reason}; "
            "give the path of a file in a writable folder with free space"
        )
