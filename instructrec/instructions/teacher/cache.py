"""A teacher's replies in an SQLite file, each under a digest of its question.

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
    """The reply of an endpoint to one question.

    Attributes:
        text: The words, at most 20,000 characters.
        finish_reason: Why the text ended, in the endpoint's own word: "stop" for a complete text.
        tokens: Tokens of prompt and reply together.
    """

    text: str
    finish_reason: str
    tokens: int


class ReplyCache:
    """Replies by the digest of the question, in one SQLite file that several processes may share.

    Args:
        path: The file, created if it does not exist.

    Raises:
        InputError: The file cannot be written, or holds something else.
    """

    APPLICATION_ID = 0x49525431  # marks the file as a cache of replies
    LAYOUT = 1
    _MAX_KEYS = 500  # SQLite bounds the number of values in one query

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
                database.execute(query).fetchone()[0]
                for query in (
                    "PRAGMA application_id",
                    "PRAGMA user_version",
                    "SELECT count(*) FROM sqlite_master",
                )
            )
            if (mark, layout) == (self.APPLICATION_ID, self.LAYOUT):
                return
            if tables or mark:
                raise InputError(
                    f"cache {str(self.path)!r} is a database of something else; give another path"
                )
            database.execute(f"PRAGMA application_id = {self.APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {self.LAYOUT}")
            database.execute(
                "CREATE TABLE replies (key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, "
                "reply TEXT NOT NULL, finish TEXT NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID"
            )
            database.execute(
                "CREATE TABLE runs (run TEXT PRIMARY KEY, requests INTEGER NOT NULL, tokens INTEGER NOT NULL) "
                "WITHOUT ROWID"
            )

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def get(self, keys: Iterable[str]) -> dict[str, Reply]:
        """Return the stored replies among the keys, by key."""
        keys, replies = list(keys), {}
        with self._errors():
            for start in range(0, len(keys), self._MAX_KEYS):
                block = keys[start : start + self._MAX_KEYS]
                rows = self._database.execute(
                    f"SELECT key, reply, finish, tokens FROM replies WHERE key IN ({','.join('?' * len(block))})",
                    block,
                )
                replies.update({key: Reply(*fields) for key, *fields in rows})
        return replies

    def put(self, key: str, model: str, prompt: str, reply: Reply, run: str) -> Reply:
        """Store a reply and return the stored reply of this key: another process's, if that was faster.

        Args:
            key: Digest of the question.
            model: Name of the model.
            prompt: The last message of the question.
            reply: The reply.
            run: The run whose usage the reply counts towards.
        """
        with self._errors(), self._transaction() as database:
            database.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?)",
                (key, model, prompt, reply.text, reply.finish_reason, reply.tokens),
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

    def usage(self, run: str) -> tuple[int, int]:
        """Return the numbers of requests and tokens that a run has used, in all of its processes."""
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
