"""The paths of the REST API, and what stays outside."""

from __future__ import annotations

import pytest

from sigrun.errors import InvalidArgument
from sigrun.inference.calls import ModelSpec
from sigrun.wire.http.messages import HttpRequest
from sigrun.wire.rest.routes import Route, route

MAX_VERSION = 2**63 - 1


def get(target: str) -> Route:
    return route(HttpRequest(method="GET", target=target))


def post(target: str) -> Route:
    return route(HttpRequest(method="POST", target=target))


@pytest.mark.parametrize(
    ("target", "spec"),
    [
        ("/v1/models/mnist:predict", ModelSpec(name="mnist")),
        ("/v1/models/mnist/versions/3:predict", ModelSpec(name="mnist", version=3)),
        ("/v1/models/mnist/versions/0:predict", ModelSpec(name="mnist", version=0)),
        ("/v1/models/mnist/versions/000:predict", ModelSpec(name="mnist", version=0)),
        ("/v1/models/mnist/versions/00012:predict", ModelSpec(name="mnist", version=12)),
        (
            f"/v1/models/mnist/versions/{MAX_VERSION}:predict",
            ModelSpec(name="mnist", version=MAX_VERSION),
        ),
        (
            f"/v1/models/mnist/versions/{'0' * 5000}7:predict",
            ModelSpec(name="mnist", version=7),
        ),
        ("/v1/models/mnist/labels/stable:predict", ModelSpec(name="mnist", label="stable")),
        ("/V1/MODELS/MNIST/Versions/3:PREDICT", ModelSpec(name="MNIST", version=3)),
        ("/v1/models/a%2Fb%3Ac:predict", ModelSpec(name="a/b:c")),
        ("/v1/models/m%C3%A4rz:predict", ModelSpec(name="märz")),
        ("/v1/models/m/labels/a%2Fb:predict", ModelSpec(name="m", label="a/b")),
        ("/v1/models/versions:predict", ModelSpec(name="versions")),
        ("/v1/models/m-1.2_x~y:predict", ModelSpec(name="m-1.2_x~y")),
        ("/v1/models/a+b:predict", ModelSpec(name="a+b")),
        ("/v1/models/50%:predict", ModelSpec(name="50%")),
    ],
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_a_post_runs_a_model(target: str, spec: ModelSpec) -> None:
    assert post(target) == Route("predict", spec)


@pytest.mark.parametrize(
    ("target", "action", "spec"),
    [
        ("/v1/models/mnist", "status", ModelSpec(name="mnist")),
        ("/v1/models/mnist/versions/3", "status", ModelSpec(name="mnist", version=3)),
        ("/v1/models/mnist/labels/stable", "status", ModelSpec(name="mnist", label="stable")),
        ("/v1/models/mnist/metadata", "metadata", ModelSpec(name="mnist")),
        ("/v1/models/mnist/versions/3/metadata", "metadata", ModelSpec(name="mnist", version=3)),
        (
            "/v1/models/mnist/labels/stable/metadata",
            "metadata",
            ModelSpec(name="mnist", label="stable"),
        ),
        ("/v1/models/mnist/METADATA", "metadata", ModelSpec(name="mnist")),
        ("/v1/models/versions", "status", ModelSpec(name="versions")),
        ("/v1/models/metadata", "status", ModelSpec(name="metadata")),
        ("/v1/models/a%2Fb/metadata", "metadata", ModelSpec(name="a/b")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_get_asks_about_a_model(target: str, action: str, spec: ModelSpec) -> None:
    assert get(target) == Route(action, spec)


@pytest.mark.parametrize("target", ["/v1/models/versions/1", "/v1/models/labels/a/metadata"])
def test_a_get_without_model_says_that_the_name_is_missing(target: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^Missing model name in request\.$"):
        get(target)


@pytest.mark.parametrize("target", ["/v1/models", "/V1/Models"])
def test_a_get_of_all_models_lists_them(target: str) -> None:
    assert get(target) == Route("models", ModelSpec(name=""))


@pytest.mark.parametrize("verb", ["classify", "regress", "Classify"])
def test_a_post_classifies_or_regresses(verb: str) -> None:
    assert post(f"/v1/models/m/labels/l:{verb}") == Route(
        verb.lower(), ModelSpec(name="m", label="l")
    )


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/models/mnist"),
        ("POST", "/v1/models/mnist:run"),
        ("POST", "/v1/models/mnist:predict/"),
        ("POST", "/v1/models/mnist:predict?x=1"),
        ("POST", "/v1/models/:predict"),
        ("POST", "/v1/models/a/b:predict"),
        ("POST", "/v1/models/a:b:predict"),
        ("POST", "/v1/models/mnist/versions/:predict"),
        ("POST", "/v1/models/mnist/versions/-1:predict"),
        ("POST", "/v1/models/mnist/versions/one:predict"),
        ("POST", "/v1/models/mnist/versions/1/labels/x:predict"),
        ("POST", "/v1/models/mnist/labels/:predict"),
        ("POST", "/v1/models/mnist/metadata"),
        ("GET", "/v1/models/mnist:predict"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/mnist/"),
        ("GET", "/v1/models/mnist/metadata?verbose=1"),
        ("GET", "/v1/models/mnist/versions/1.0"),
        ("GET", "/v1/models/mnist/versions/1 "),
        ("GET", "/v1/models/mnist/status"),
        ("GET", "/v1/"),
        ("GET", "/v1/model/mnist"),
        ("PUT", "/v1/models/mnist:predict"),
        ("DELETE", "/v1/models/mnist"),
        ("PATCH", "/v1/models/mnist"),
        ("HEAD", "/v1/models/mnist"),
        ("get", "/v1/models/mnist"),
    ],
)
def test_everything_else_is_a_malformed_request(method: str, target: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        route(HttpRequest(method=method, target=target))

    assert str(error.value) == f"Malformed request: {method} {target}"


def test_a_query_string_belongs_to_the_name_that_it_follows() -> None:
    assert get("/v1/models/mnist?x=1") == Route("status", ModelSpec(name="mnist?x=1"))


@pytest.mark.parametrize("digits", [str(MAX_VERSION + 1), "9" * 20, "9" * 60_000], ids=len)
def test_a_version_beyond_64_bits_is_refused(digits: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        get(f"/v1/models/mnist/versions/{digits}")

    assert str(error.value) == f"Failed to convert version: {digits} to numeric."
