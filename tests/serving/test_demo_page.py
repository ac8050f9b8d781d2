"""The web page of --demo_port: what it is told, what it refuses, and in Chromium what people see."""

import http.client
import json
import re
import shutil
import types

import pytest
from PIL import Image
from tensorflow_serving.apis import get_model_status_pb2

from saved_models import gallery
from serving import demo_page, server
from serving.config import ModelConfig
from serving.server import Server
from serving.status import not_found
from tests.serving import browser
from tests.serving.toys import Detector, Diagnoser, Encoder, Generator, Restorer, png
from tests.tfrecords.here import run_here

MODELS = ("faces", "gallery", "fakes", "scans", "noise", "classes", "larger", "none_yet")
RED, GREEN, BLUE = (220, 30, 20), (20, 200, 40), (30, 40, 210)
State = get_model_status_pb2.ModelVersionStatus.State


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """models/<name>/<version>, and images."""
    folder = tmp_path_factory.mktemp("demo")
    models = folder / "models"
    Encoder().save(models / "faces" / "1")
    shutil.copytree(models / "faces" / "1", models / "faces" / "2")
    Detector().save(models / "fakes" / "1")
    Diagnoser().save(models / "scans" / "1")
    Generator().save(models / "noise" / "1")
    Generator().save(models / "classes" / "1", conditional=True)
    Restorer().save(models / "larger" / "1")
    people = {"<b>ann</b>": RED, "bob": GREEN}
    entries = [
        (name, f"{name}/{i}.png", png(*[max(0, part - 20 * i) for part in colour]))
        for name, colour in people.items()
        for i in range(2)
    ]
    gallery.build(str(models / "faces" / "2"), entries, str(models), k=3, threshold=0.97, check=False)
    for name, colour in (("red", RED), ("blue", BLUE), ("<img src=x onerror=alert(1)>", GREEN)):
        Image.new("RGB", (20, 30), colour).save(folder / f"{name}.png")
    Image.new("RGB", (20, 30), (130, 120, 110)).save(folder / "grey.png")
    (folder / "none.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def running(folder):
    models = [
        ModelConfig(name, str(folder / "models" / name), "all", labels={"stable": 1} if name == "faces" else {})
        for name in MODELS
    ]
    with Server(models, port=0, demo_port=0, poll_seconds=0.1, load_retries=0) as running:
        yield running


def ask(running, verb, path, body=None, **headers):
    """(status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", running.demo_port, timeout=20)
    try:
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


# ---- What it serves ----


@pytest.mark.parametrize("path, kind", [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")])
def test_the_page_needs_nothing_from_elsewhere(running, path, kind):
    status, headers, body = ask(running, "GET", path)
    assert status == 200 and headers["Content-Type"].startswith(kind)
    policy = dict(part.split(maxsplit=1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    text = body.decode()
    assert not re.search(r"https?://|@import|innerHTML|insertAdjacentHTML|eval\(", text)
    if path == "/":  # nothing that the policy would refuse
        assert not re.search(r"<script>|<style|\bstyle=|\bon\w+=", text)
        assert {"page.css", "page.js"} == set(re.findall(r'(?:src|href)="([\w.]+)"', text))


@pytest.mark.parametrize("path", ["/server.py", "/demo/../server.py", "/../demo_page.py", "/page.js/", "/demo_page.py"])
def test_no_other_file_is_served(running, path):
    status, _, body = ask(running, "GET", path)
    assert status == 404 and "error" in json.loads(body)


def test_what_the_models_offer(running):
    told = json.loads(ask(running, "GET", "/models")[2])
    models = {model["name"]: model for model in told["models"]}
    assert set(models) == set(MODELS) and told["largest_upload"] == demo_page.UPLOAD_BYTES
    faces = models["faces"]
    assert [(one["version"], one["state"]) for one in faces["versions"]] == [("2", "AVAILABLE"), ("1", "AVAILABLE")]
    assert faces["labels"] == {"stable": "1"} and models["none_yet"]["versions"] == []
    assert {name: models[name]["versions"][0]["tasks"] for name in MODELS if models[name]["versions"]} == {
        "faces": {"verify": [], "embed": []},
        "gallery": {"search": []},
        "fakes": {"detect": ["fake_map"]},
        "scans": {"classify": ["explain"], "embed": []},
        "noise": {"generate": []},
        "classes": {"generate": ["label"]},
        "larger": {"restore": ["scale"]},
    }
    assert models["gallery"]["versions"][0]["others"] == ["search_embedding"]


@pytest.mark.parametrize("change", [
    {"inputs": {"image_bytes": ("float32", (-1,))}},
    {"inputs": {"image": ("string", (-1,))}},
    {"inputs": {"image_bytes": ("string", (-1,)), "threshold": ("float32", (-1,))}},
    {"outputs": {"score": ("float32", (-1,))}},
])  # fmt: skip
def test_a_signature_that_only_has_the_name_of_a_task_is_none(change):
    names = ("score", "probability", "decision", "threshold")
    signature = {"inputs": {"image_bytes": ("string", (-1,))}, "outputs": dict.fromkeys(names, ("float32", (-1,)))}
    assert demo_page.tasks_of({"detect": signature}) == {"detect": []}
    assert demo_page.tasks_of({"detect": {**signature, **change}}) == {}


def test_versions_that_come_go_or_fail_are_told():
    def statuses(spec):
        found = get_model_status_pb2.GetModelStatusResponse()
        for number, state, error in ((5, State.LOADING, ""), (4, State.END, "broken"), (3, State.AVAILABLE, ""),
                                     (2, State.UNLOADING, ""), (1, State.END, "")):  # fmt: skip
            one = found.model_version_status.add(version=number, state=state)
            one.status.error_message = error
        return found.model_version_status

    def lease(spec):
        raise not_found("gone in between")

    manager = types.SimpleNamespace(models=lambda: [ModelConfig("a", "/a")], statuses=statuses, lease=lease)
    (model,) = demo_page.offered(manager)["models"]
    told = [(one["version"], one["state"], one["error"], one["tasks"]) for one in model["versions"]]
    assert told == [("5", "LOADING", "", {}), ("4", "END", "broken", {}), ("3", "AVAILABLE", "", {}),
                    ("2", "UNLOADING", "", {})]  # fmt: skip


# ---- What it refuses ----


def test_another_origins_page_may_not_ask(running):
    body = json.dumps({"signature_name": "generate", "inputs": {"seed": [1]}})
    path, host = "/v1/models/noise:predict", f"127.0.0.1:{running.demo_port}"
    status, headers, answer = ask(running, "POST", path, body, Origin="http://elsewhere.example")
    assert status == 403 and "http://elsewhere.example" in json.loads(answer)["error"]
    assert "Access-Control-Allow-Origin" not in headers
    for origin in ({"Origin": f"http://{host}"}, {}):
        status, _, answer = ask(running, "POST", path, body, **origin)
        assert status == 200 and json.loads(answer)["outputs"][0].keys() == {"b64"}
    assert ask(running, "POST", path, body, Origin="null")[0] == 403  # a sandboxed frame


@pytest.mark.parametrize("host, status", [
    ("localhost:8080", 200), ("LocalHost", 200), ("192.168.7.9:8080", 200), ("[::1]:8080", 200), ("machine:1", 200),
    ("machine.lab.example.", 200), ("", 200),
    ("elsewhere.example:8080", 403), ("localhost.elsewhere.example", 403), ("127.0.0.1.elsewhere.example", 403),
    ("machine.elsewhere.example", 403), ("[::1].elsewhere.example", 403),
])  # fmt: skip
def test_a_name_of_somebody_else_that_leads_here_is_refused(running, monkeypatch, host, status):
    monkeypatch.setattr(demo_page.socket, "gethostname", lambda: "Machine")
    monkeypatch.setattr(demo_page.socket, "getfqdn", lambda: "machine.lab.example")
    demo_page._own_names.cache_clear()
    seed = json.dumps({"signature_name": "generate", "inputs": {"seed": [1]}})
    for verb, path, body in (("GET", "/", None), ("GET", "/models", None), ("POST", "/v1/models/noise:predict", seed)):
        got, headers, answer = ask(running, verb, path, body, Host=host, Origin=f"http://{host}")
        assert got == status and headers["X-Content-Type-Options"] == "nosniff"
        if status == 403:
            name = host.removesuffix(":8080").strip("[]")
            told = f"{name} is no name of this server; open it by localhost, its IP address or Machine."
            assert json.loads(answer) == {"error": told}
    demo_page._own_names.cache_clear()


def test_an_upload_is_bounded(running):
    connection = http.client.HTTPConnection("127.0.0.1", running.demo_port, timeout=20)
    connection.putrequest("POST", "/v1/models/fakes:predict")
    connection.putheader("Content-Length", str(demo_page.UPLOAD_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413  # before anything was sent
    connection.close()


@pytest.mark.parametrize("other", ["--port=8123", "--rest_api_port=8123"])
def test_a_port_of_its_own_is_needed(capsys, other):
    code, _, error = run_here(server, capsys, "--model_base_path=/a", "--demo_port=8123", other)
    assert code == 1 and error.startswith("error: `demo_port` is 8123, as another port is, but they must differ")


def test_a_port_in_use_is_told_with_its_flag(running):
    port = running.demo_port
    with pytest.raises(OSError, match=f"`127.0.0.1:{port}` cannot be listened on for the web page: .*--demo_port"):
        Server([ModelConfig("a", "/a")], port=0, demo_port=port).start()


# ---- In Chromium ----


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    if not browser.program():
        pytest.skip("no Chromium here; on Debian: apt-get install chromium")
    chromium = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def page(chromium, running):
    """The page as it opens; in the end its script has raised nothing and its policy refused nothing."""
    chromium.troubles.clear()
    chromium.resize(1100, 900)
    chromium.scheme("light")
    chromium.open("about:blank")
    chromium.open(running.page_address)
    chromium.until("document.querySelectorAll('#tasks a').length === 9")
    yield chromium
    assert not chromium.troubles


def turn_to(page, link):
    page.run(f"location.hash = '#{link}'")
    page.until(f"(document.querySelector('#tasks [aria-current]') || {{}}).hash === '#{link}'")


def answer(page):
    """What the page answers, once it does."""
    page.until("/Answered by/.test(document.querySelector('#answer').innerText)"
               " || !document.querySelector('#problem').hidden")  # fmt: skip
    assert page.run("document.querySelector('#problem').hidden"), problem(page)
    return page.run("document.querySelector('#answer').innerText")


def problem(page):
    page.until("!document.querySelector('#problem').hidden")
    return page.run("document.querySelector('#problem').innerText")


@pytest.mark.slow
def test_two_images_are_verified(page, folder):
    assert page.run("document.querySelector('#title').innerText") == "Same or different?"  # the first task there is
    page.choose("#file-0", folder / "red.png")
    assert page.run("document.querySelector('#answer').innerText") == ""  # one is not enough
    page.choose("#file-1", folder / "blue.png")
    text = answer(page)
    assert text.startswith("different") and re.search(r"The score 0\.\d{4} is below the threshold 0\.9000\.", text)
    assert "Answered by faces, version 2" in text
    page.choose("#file-1", folder / "red.png")
    page.until("(document.querySelector('.badge') || {}).innerText === 'same'")
    assert "reaches the threshold 0.9000" in answer(page)


@pytest.mark.slow
def test_two_images_are_dropped_at_once(page, folder):
    page.drop("#file-0", folder / "red.png", folder / "blue.png")
    assert answer(page).startswith("different")
    names = page.run("[...document.querySelectorAll('.zone .name')].map(one => one.innerText)")
    assert names == ["red.png", "blue.png"]
    turn_to(page, "fakes/detect")
    page.drop("#file-0", folder / "blue.png")
    assert answer(page).startswith("real")


@pytest.mark.slow
def test_one_image_is_searched_and_names_are_text(page, folder):
    turn_to(page, "gallery/search")
    page.choose("#file-0", folder / "red.png")
    text = answer(page)
    assert text.startswith("known\n<b>ann</b>") and "Vote: <b>ann</b> 2 of 3, bob 1." in text
    ranked = page.run("[...document.querySelectorAll('.rows .line .name')].map(one => one.innerText)")
    assert ranked == ["<b>ann</b>", "<b>ann</b>", "bob"]
    page.choose("#file-0", folder / "blue.png")
    page.until("(document.querySelector('.badge') || {}).innerText === 'unknown'")
    assert "Vote" not in answer(page)
    page.choose("#file-0", folder / "<img src=x onerror=alert(1)>.png")
    assert "bob" in answer(page)
    assert page.run("document.querySelector('.zone .name').innerText") == "<img src=x onerror=alert(1)>.png"
    assert page.run("document.querySelectorAll('b, img[src=x]').length") == 0


@pytest.mark.slow
def test_a_fake_is_shown_with_what_speaks_for_it(page, folder):
    turn_to(page, "fakes/detect")
    page.choose("#file-0", folder / "red.png")
    text = answer(page)
    assert text.startswith("fake") and "The score 0.8627 reaches the threshold 0.2500." in text
    pixel = page.run("(canvas => [canvas.width, canvas.height, ...canvas.getContext('2d').getImageData(3, 3, 1, 1)"
                     ".data])(document.querySelector('canvas.over'))")  # fmt: skip
    assert pixel[:2] == [8, 6] and pixel[5] == 220  # as opaque as the map of 6 x 8 says
    boxes = page.run("['canvas.over', '.picture.grey img'].map(one => JSON.stringify("
                     "document.querySelector(one).getBoundingClientRect()))")  # fmt: skip
    assert boxes[0] == boxes[1]


@pytest.mark.slow
def test_a_class_is_told_with_its_doubt_and_its_map(page, folder):
    turn_to(page, "scans/classify")
    page.choose("#file-0", folder / "red.png")
    text = answer(page)
    assert text.startswith("pneumonia") and "unsure" not in text and page.run("!!document.querySelector('canvas')")
    ranked = page.run("[...document.querySelectorAll('.rows .line .name')].map(one => one.innerText)")
    assert ranked == ["pneumonia", "normal", "effusion"]
    page.choose("#file-0", folder / "grey.png")
    page.until("/unsure: ask a person/.test(document.querySelector('#answer').innerText)")


@pytest.mark.slow
def test_a_restored_image_lies_behind_the_one_before(page, folder):
    turn_to(page, "larger/restore")
    page.choose("#file-0", folder / "red.png")
    assert "20 × 30 pixels became 80 × 120 (width × height)." in answer(page)
    page.run("document.querySelector('#field-scale').value = 2, document.querySelector('#ask').click()")
    page.until("/became 40 × 60/.test(document.querySelector('#answer').innerText)")
    page.run("document.querySelector('input[type=range]').focus()")
    page.press("End")
    assert page.run("document.querySelector('.picture .over').style.clipPath") == "inset(0px 0% 0px 0px)"
    page.press("ArrowLeft")
    assert page.run("document.querySelector('.picture .over').style.clipPath") == "inset(0px 1% 0px 0px)"
    page.run("document.querySelector('#field-scale').value = 3, document.querySelector('#ask').click()")
    assert "`scale` is 3 but must be 1, 2 or 4." in problem(page)
    assert page.run("document.querySelector('#answer').innerText") == ""  # not beside the old answer


@pytest.mark.slow
def test_images_are_made_by_keyboard_alone(page):
    turn_to(page, "noise/generate")
    page.run("document.querySelector('#field-count').value = 3, document.querySelector('#field-seed').focus()")
    page.press("Enter")
    assert "seed 0\nseed 1\nseed 2\n" in answer(page)
    turn_to(page, "classes/generate")
    page.run("document.querySelector('#field-label').value = 7")
    for _ in range(9):  # from the link, which is clicked by its address, along the page to the button
        if page.run("document.activeElement.id") == "ask":
            break
        page.press("Tab")
    page.press("Enter")
    assert "`label` is not below 3 classes." in problem(page)


@pytest.mark.slow
def test_what_is_wrong_is_told_in_the_servers_own_words(page, running, folder):
    turn_to(page, "fakes/detect")
    page.run("document.querySelector('#ask').click()")
    assert problem(page) == "Choose an image first."
    page.choose("#file-0", folder / "none.png")
    told = problem(page)
    body = json.dumps({"signature_name": "detect", "inputs": {"image_bytes": [{"b64": "bm8gaW1hZ2U="}]}})
    assert told == json.loads(ask(running, "POST", "/v1/models/fakes:predict", body)[2])["error"]
    page.run("offered.largest_upload = 1100")
    (folder / "large.png").write_bytes(bytes(76))
    page.choose("#file-0", folder / "large.png")
    page.until("/at most/.test(document.querySelector('#problem').innerText)")
    assert problem(page) == ("large.png has 76 bytes but this page sends at most 75; choose a smaller file, or use "
                             "python -m serving.client.")  # fmt: skip


@pytest.mark.slow
def test_versions_are_chosen_and_may_come_and_go(page, running, folder):
    turn_to(page, "faces/embed")
    options = page.run("[...document.querySelectorAll('#version option')].map(one => one.innerText)")
    assert options == ["newest (2)", "version 2", "version 1", "stable (version 1)"]
    page.run("document.querySelector('#version').value = '=stable'")
    page.choose("#file-0", folder / "red.png")
    assert "Answered by faces, version 1" in answer(page)
    # A version that went away since the last look: the newest one answers, without a word of the old one.
    page.run("document.querySelector('#version').value = 'newest'")
    page.run("modelOf('faces').versions.unshift({...modelOf('faces').versions[0], version: '3'}), told = ''")
    page.run("document.querySelector('#ask').click()")
    page.until("/version 2, in/.test(document.querySelector('#answer').innerText)")
    # One asked for by its number is not replaced.
    page.run("document.querySelector('#version').append(el('option', {value: '9', text: '9'})),"
             "modelOf('faces').versions.unshift({...modelOf('faces').versions[0], version: '9'}),"
             "document.querySelector('#version').value = '9', document.querySelector('#ask').click()")  # fmt: skip
    assert problem(page) == "Servable not found for request: Specific(faces, 9)"
    page.run("modelOf('faces').versions.unshift({version: '3', state: 'LOADING', error: '', tasks: {}, others: []}),"
             "modelOf('faces').versions.push({version: '0', state: 'END', error: 'broken', tasks: {}, others: []}),"
             "render()")  # fmt: skip
    told = page.run("document.querySelector('#states').innerText")
    assert told == "Version 3 is being loaded.\nVersion 0 cannot be loaded: broken"
    turn_to(page, "gallery/search")
    told = page.run("document.querySelector('#states').innerText")
    assert told == "Not asked here but by gRPC or REST: search_embedding."


@pytest.mark.slow
def test_numbers_that_json_has_not_are_read_as_none(page):
    sent = r'{"outputs": [NaN, 1.5, "NaN \"NaN", -Infinity]}'
    assert page.run(f"answerOf(new Response({json.dumps(sent)}))") == {"outputs": [None, 1.5, 'NaN "NaN', None]}


@pytest.mark.slow
def test_a_phone_and_the_dark_are_cared_for(page, folder):
    light = page.run("getComputedStyle(document.body).backgroundColor")
    page.scheme("dark")
    assert page.run("getComputedStyle(document.body).backgroundColor") != light
    page.resize(360, 740, phone=True)
    for link in page.run("[...document.querySelectorAll('#tasks a')].map(one => one.hash.slice(1))"):
        turn_to(page, link)
        zones = page.run("document.querySelectorAll('.zone').length")
        if zones:
            page.choose("#file-0", *[folder / "red.png", folder / "blue.png"][:zones])
        else:
            page.run("document.querySelector('#ask').click()")
        answer(page)
        assert page.run("document.documentElement.scrollWidth") == 360, link
        left, right = page.run("(box => [box.left, box.right])"
                               "(document.querySelector('#tasks [aria-current]').getBoundingClientRect())")  # fmt: skip
        assert 0 <= left and right <= 360, link


@pytest.mark.slow
def test_no_model_and_no_server_are_told(chromium, folder, tmp_path):
    with Server([ModelConfig("a", str(tmp_path / "a"))], port=0, demo_port=0, poll_seconds=0.1) as server:
        chromium.open(server.page_address)
        chromium.until("/No model can be asked yet/.test(document.body.innerText)")
        assert "a has no version yet." in chromium.run("document.querySelector('#waiting').innerText")
        Detector().save(tmp_path / ".new")
        (tmp_path / "a").mkdir()
        (tmp_path / ".new").rename(tmp_path / "a" / "1")
        chromium.until("look().then(() => document.querySelector('#title').innerText === 'Real or fake?')")
    chromium.run("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    chromium.until("look().then(() => !document.querySelector('#away').hidden)")
    chromium.choose("#file-0", folder / "red.png")
    assert problem(chromium) == "The server cannot be reached, or broke off; look at whether it runs, then ask again."
