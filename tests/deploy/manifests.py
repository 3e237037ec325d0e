"""Check Kubernetes manifests strictly: an unknown field is an error, as for `kubectl --validate`.

What Kubernetes defines is checked against its own schemas. Those of the operators' kinds are in
no package, so the fields that our manifests use are listed here, from the operators' references.
"""

from __future__ import annotations

import functools
from typing import Any

import jsonschema
import kubernetes_validate.utils
from referencing import Registry, Resource

# The oldest and the newest Kubernetes that the chart is for.
VERSIONS = ("1.30", "1.34")

Manifest = dict[str, Any]


class BadManifestError(Exception):
    """A manifest that a cluster would refuse, with the field that is wrong."""


def check(manifest: Manifest) -> None:
    """Raise `BadManifestError` for what does not fit its schema."""
    kind = (manifest["apiVersion"], manifest["kind"])
    try:
        if kind in _CUSTOM:
            _check_custom(manifest, _CUSTOM[kind])
            return
        for version in VERSIONS:
            _validator(version, *kind).validate(manifest)
    except jsonschema.ValidationError as error:
        field = ".".join(map(str, error.absolute_path))
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        raise BadManifestError(f"{name}, {field or 'top level'}: {error.message}") from None


@functools.cache
def _validator(version: str, api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    """Return what `kubernetes_validate.validate` makes anew for each manifest, in seconds."""
    group, _, number = api_version.rpartition("/")
    name = f"{kind.lower()}-{group.partition('.')[0]}-{number}".replace("--", "-")
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    schema, definitions = (
        Resource.from_contents(kubernetes_validate.utils.schema_contents(file, version))
        for file in (f"{folder}/{name}.json", f"{folder}/_definitions.json")
    )
    registry = definitions @ (schema @ Registry())
    return jsonschema.Draft202012Validator(schema.contents, registry=registry)


def _check_custom(manifest: Manifest, schema: Manifest) -> None:
    jsonschema.Draft202012Validator(schema).validate(manifest)
    for container in manifest["spec"].get("containers", ()):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "of-a-runtime"}}
        check({**pod, "spec": {"containers": [container]}})


def _fields(*required: str, **fields: Any) -> Manifest:
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


def _kind(spec: Manifest) -> Manifest:
    return _fields(
        "metadata",
        "spec",
        apiVersion=_TEXT,
        kind=_TEXT,
        metadata=_fields("name", name=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        spec=spec,
    )


def _list(items: Manifest) -> Manifest:
    return {"type": "array", "items": items}


_TEXT: Manifest = {"type": "string"}
_FLAG: Manifest = {"type": "boolean"}
_NUMBER: Manifest = {"type": "integer"}
_TEXTS: Manifest = {"type": "object", "additionalProperties": _TEXT}

# https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor
_SERVICE_MONITOR = _kind(
    _fields(
        "selector",
        "endpoints",
        selector=_fields(
            matchLabels=_TEXTS,
            matchExpressions=_list(
                _fields(
                    "key",
                    "operator",
                    key=_TEXT,
                    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    values=_list(_TEXT),
                )
            ),
        ),
        endpoints=_list(
            _fields(
                port=_TEXT,
                path={"type": "string", "pattern": "^/"},
                interval={"type": "string", "pattern": "^[0-9]+(ms|s|m|h)$"},
                scheme={"enum": ["http", "https"]},
                tlsConfig=_fields(insecureSkipVerify=_FLAG, serverName=_TEXT),
                authorization=_fields(
                    type=_TEXT, credentials=_fields("name", "key", name=_TEXT, key=_TEXT)
                ),
            )
        ),
    )
)

# https://kserve.github.io/website/docs/reference/crd-api
_MODEL_FORMAT = {"name": _TEXT, "version": _TEXT}
_SERVING_RUNTIME = _kind(
    _fields(
        "containers",
        annotations=_TEXTS,
        labels=_TEXTS,
        supportedModelFormats=_list(
            _fields("name", **_MODEL_FORMAT, autoSelect=_FLAG, priority=_NUMBER)
        ),
        protocolVersions=_list({"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]}),
        containers=_list({"type": "object"}),  # checked as those of a pod
    )
)
_INFERENCE_SERVICE = _kind(
    _fields(
        "predictor",
        predictor=_fields(
            "model",
            minReplicas=_NUMBER,
            maxReplicas=_NUMBER,
            terminationGracePeriodSeconds=_NUMBER,
            model=_fields(
                "modelFormat",
                runtime=_TEXT,
                modelFormat=_fields("name", **_MODEL_FORMAT),
                protocolVersion={"enum": ["v1", "v2", "grpc-v1", "grpc-v2"]},
                storageUri={"type": "string", "pattern": "^[a-z0-9]+://"},
            ),
        ),
    )
)

_CUSTOM: dict[tuple[str, str], Manifest] = {
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _SERVICE_MONITOR,
    ("serving.kserve.io/v1alpha1", "ServingRuntime"): _SERVING_RUNTIME,
    ("serving.kserve.io/v1beta1", "InferenceService"): _INFERENCE_SERVICE,
}
