"""A Hugging Face hub on this machine: the part of its interface that huggingface_hub needs.

Files that end in .safetensors go through the large file storage, as on the hub: they are sent to an
address of their own, and a download is redirected to another host. The Xet protocol is not offered.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

WRITER, READER, STRANGER = "hf_writer", "hf_reader", "hf_stranger"
"""Tokens: of the user `me`, of the same with permission to read alone, of another user."""

USERS = {WRITER: "me", READER: "me", STRANGER: "you"}


class Asked(NamedTuple):
    """A request that came in."""

    method: str
    host: str
    path: str
    token: str


@dataclass
class Repository:
    """Commits, newest last: name of a file -> its content."""

    private: bool = False
    gated: bool = False
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b"x"}])
    messages: list[str] = field(default_factory=lambda: ["initial commit"])
    tags: dict[str, int] = field(default_factory=dict)

    def commit(self, number: int = -1) -> str:
        """Return the name of a commit, 40 hexadecimal digits."""
        number %= len(self.commits)
        content = repr((number, sorted(self.commits[number].items())))
        return hashlib.sha1(content.encode()).hexdigest()

    def at(self, revision: str) -> int | None:
        """Return the number of the commit that a revision stands for."""
        names = [self.commit(number) for number in range(len(self.commits))]
        if revision == "main":
            return len(names) - 1
        if revision in self.tags:
            return self.tags[revision]
        return names.index(revision) if revision in names else None

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]


@dataclass
class FakeHub:
    """The hub: its repositories, what was asked, and what to do in place of an answer."""

    port: int = 0
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    instead: dict[str, Callable[["Request"], None]] = field(default_factory=dict)
    """Pattern of "METHOD path" -> what happens in place of the usual answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, name: str, **files: bytes) -> Repository:
        """Commit files to a repository, __ in a name standing for a dot; create it if necessary."""
        repository = self.repositories.setdefault(name, Repository())
        named = {key.replace("__", "."): content for key, content in files.items()}
        repository.commits.append(repository.files | named)
        return repository

    def fail(self, status: int, pattern: str = "") -> None:
        """Answer requests that hold `pattern`, "METHOD path", with a status and nothing else."""
        self.instead[pattern] = lambda request: request.send(status, b"")

    @contextmanager
    def stalled(self, pattern: str = "") -> Iterator[None]:
        """Leave requests that hold `pattern` without an answer, and hang up after ten seconds."""
        end = threading.Event()

        def stall(request: "Request") -> None:
            end.wait(10)
            request.close_connection = True

        self.instead[pattern] = stall
        yield
        end.set()

    def count(self, method: str, pattern: str) -> int:
        """Return the number of requests whose path holds `pattern`."""
        return sum(
            a.method == method and re.search(pattern, a.path) is not None for a in self.asked
        )


class Request(BaseHTTPRequestHandler):
    """One request."""

    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.take()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def take(self) -> None:
        """Record the request, and answer it."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.path = unquote(urlsplit(self.path).path)
        self.token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        asked = Asked(self.command, self.headers["Host"], self.path, self.token)
        self.hub.asked.append(asked)
        for pattern, act in self.hub.instead.items():
            if re.search(pattern, f"{self.command} {self.path}"):
                act(self)
                return
        for pattern, answer in ROUTES.items():
            match = re.fullmatch(pattern, f"{self.command} {self.path}")
            if match:
                answer(self, *match.groups())
                return
        self.refuse(404, "no such route")

    def json(self) -> Any:
        return json.loads(self.body)

    def send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply(self, value: Any, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
        self.send(status, b"", **headers)

    def user(self) -> str | None:
        """Return who asks; None after an answer to a token that does not exist."""
        if self.token and self.token not in USERS:
            self.refuse(401, "Invalid credentials in Authorization header")
            return None
        return USERS.get(self.token, "")

    def repository(self, name: str, *, to_write: bool = False) -> Repository | None:
        """Return a repository; None after an answer to somebody who may not use it."""
        user = self.user()
        if user is None:
            return None
        found, owner = self.hub.repositories.get(name), name.partition("/")[0]
        if found is None or (found.private and user != owner):
            if user:
                self.refuse(404, "Repository not found", "RepoNotFound")
            else:
                self.refuse(401, "Invalid username or password.")
            return None
        if to_write and not self.may_write(owner):
            return None
        if found.gated and user != owner and not to_write:
            status = 403 if user else 401
            self.refuse(status, f"Access to model {name} is restricted", "GatedRepo")
            return None
        return found

    def may_write(self, owner: str) -> bool:
        if self.token == WRITER and owner == "me":
            return True
        self.refuse(403, f'You don\'t have the rights to create a model under "{owner}"')
        return False


def create(request: Request) -> None:
    if request.user() is None:
        return
    if not request.token:
        request.refuse(401, "Invalid username or password.")
        return
    asked = request.json()
    name = f"{asked['organization']}/{asked['name']}"
    address = {"url": f"{request.hub.url}/{name}", "name": name}
    if name in request.hub.repositories and USERS[request.token] == asked["organization"]:
        request.reply(address | {"error": "You already created this model repo"}, 409)
    elif request.may_write(asked["organization"]):
        private = asked.get("visibility") == "private"
        request.hub.repositories[name] = Repository(private=private)
        request.reply(address)


def describe(request: Request, name: str) -> None:
    repository = request.repository(name)
    if repository is None:
        return
    siblings: list[dict[str, Any]] = []
    for path, content in repository.files.items():
        blob = hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
        entry = {"rfilename": path, "size": len(content), "blobId": blob}
        if path.endswith(".safetensors"):
            sha256 = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
        siblings.append(entry)
    facts = {"id": name, "sha": repository.commit(), "private": repository.private}
    request.reply(facts | {"siblings": siblings})


def validate(request: Request) -> None:
    assert request.json()["repoType"] == "model"
    request.reply({"errors": [], "warnings": []})


def before_upload(request: Request, name: str, _: str) -> None:
    if request.repository(name, to_write=True) is None:
        return
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
            "shouldIgnore": False,
        }
        for file in request.json()["files"]
    ]
    request.reply({"files": files})


def batch(request: Request, name: str) -> None:
    if request.repository(name, to_write=True) is None:
        return
    hub = request.hub
    objects = []
    for entry in request.json()["objects"]:
        actions = {
            "upload": {"href": f"http://localhost:{hub.port}/storage/{entry['oid']}"},
            "verify": {"href": f"{hub.url}/verify"},
        }
        absent = entry["oid"] not in hub.stored
        objects.append(entry | ({"actions": actions} if absent else {}))
    request.reply({"transfer": "basic", "objects": objects})


def store(request: Request, oid: str) -> None:
    assert hashlib.sha256(request.body).hexdigest() == oid
    request.hub.stored[oid] = request.body
    request.send(200, b"")


def verify(request: Request) -> None:
    asked = request.json()
    request.reply({}, 200 if len(request.hub.stored[asked["oid"]]) == asked["size"] else 400)


def commit(request: Request, name: str, _: str) -> None:
    repository = request.repository(name, to_write=True)
    if repository is None:
        return
    header, *rest = map(json.loads, request.body.splitlines())
    if header["value"].get("parentCommit", repository.commit()) != repository.commit():
        request.refuse(412, "A commit has happened since. Please refresh and try again.")
        return
    files = dict(repository.files)
    for line in rest:
        value = line["value"]
        if line["key"] == "lfsFile":
            files[value["path"]] = request.hub.stored[value["oid"]]
        else:
            files[value["path"]] = base64.b64decode(value["content"])
    repository.commits.append(files)
    repository.messages.append(header["value"]["summary"])
    url = f"{request.hub.url}/{name}/commit/{repository.commit()}"
    request.reply({"commitUrl": url, "commitOid": repository.commit()})


def resolve(request: Request, name: str, revision: str, file: str) -> None:
    repository = request.repository(name)
    if repository is None:
        return
    number = repository.at(revision)
    if number is None:
        request.refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return
    content = repository.commits[number].get(file)
    if content is None:
        request.refuse(404, "Entry not found", "EntryNotFound")
        return
    sha256 = hashlib.sha256(content).hexdigest()
    request.hub.stored[sha256] = content
    request.send(
        302,
        b"",
        Location=f"http://localhost:{request.hub.port}/storage/{sha256}",
        X_Repo_Commit=repository.commit(number),
        X_Linked_Etag=f'"{sha256}"',
        X_Linked_Size=str(len(content)),
    )


def fetch(request: Request, oid: str) -> None:
    request.send(200, request.hub.stored[oid], ETag=f'"{oid}"')


ID = r"([\w.-]+/[\w.-]+)"
ROUTES: dict[str, Callable[..., None]] = {
    r"POST /api/repos/create": create,
    r"POST /api/validate-yaml": validate,
    rf"GET /api/models/{ID}": describe,
    rf"POST /api/models/{ID}/preupload/(.+)": before_upload,
    rf"POST /{ID}\.git/info/lfs/objects/batch": batch,
    r"PUT /storage/(\w+)": store,
    r"POST /verify": verify,
    rf"POST /api/models/{ID}/commit/(.+)": commit,
    rf"(?:HEAD|GET) /{ID}/resolve/([^/]+|refs/.+)/([^/]+)": resolve,
    r"GET /storage/(\w+)": fetch,
}
"""Pattern of "METHOD path" -> what answers it."""


@contextmanager
def serving() -> Iterator[FakeHub]:
    """Serve an empty hub on a free port."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Request,), {"hub": hub}))
    server.daemon_threads = True
    hub.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
