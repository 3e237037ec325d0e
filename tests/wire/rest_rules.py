"""The rules of the REST API as data: what is asked, what is answered.

Texts are TensorFlow Serving's. Of the model `rest` (see `rest_model`) versions 1 and 2 are
served, `stable` is 1; version 3 has failed to load. `a/b:c ä` is another model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

NAN, INF = math.nan, math.inf


@dataclass(frozen=True, slots=True)
class Case:
    """One question and its answer: `reply` is parsed JSON; of a refusal it is the text."""

    method: str
    target: str
    body: str
    status: int
    reply: Any
    version: int | None = None
    begins: bool = False  # of a text only the beginning is given

    def __str__(self) -> str:
        return f"{self.method} {self.target} {self.body}"[:90]


PREDICT = "/v1/models/rest:predict"
CLASSIFY = "/v1/models/rest:classify"
REGRESS = "/v1/models/rest:regress"


def _predicted(signature: str, body: str, reply: Any) -> Case:
    return Case("POST", PREDICT, _named(signature, body), 200, reply, version=2)


def _refused(signature: str, body: str, text: str, *, status: int = 400) -> Case:
    body = _named(signature, body)
    return Case("POST", PREDICT, body, status, text.replace("$BODY", body))


def _named(signature: str, body: str) -> str:
    """Return `body`, an object, with the name of a signature."""
    if not signature:
        return body
    return f'{{"signature_name": "{signature}"' + (", " if body != "{}" else "") + body[1:]


# Row and columnar format: signature, body, reply.
FORMATS = [
    _predicted(*case)
    for case in [
        ("", '{"instances": [1.0, 2.0, 5.0]}', {"predictions": [2.5, 3.0, 4.5]}),
        ("", '{"instances": [{"x": 1.0}, {"x": 2}]}', {"predictions": [2.5, 3.0]}),
        ("", '{"instances": [[1, 2], [5, 0]]}', {"predictions": [[2.5, 3.0], [4.5, 2.0]]}),
        ("", '{"instances": [{"x": [1, 2]}]}', {"predictions": [[2.5, 3.0]]}),
        ("", '{"instances": [[[1], [2]]]}', {"predictions": [[[2.5], [3.0]]]}),
        ("", '{"instances": [[]]}', {"predictions": [[]]}),
        ("", '{"instances": [[[], []]]}', {"predictions": [[[], []]]}),
        ("", '{"instances": [1], "unknown": {"a": [null]}}', {"predictions": [2.5]}),
        ("", ' {\n"instances"\t:\r[ 1 , 2 ] } ', {"predictions": [2.5, 3.0]}),
        ("", '{"inputs": [1.0, 2.0, 5.0]}', {"outputs": [2.5, 3.0, 4.5]}),
        ("", '{"inputs": {"x": [1.0, 2]}}', {"outputs": [2.5, 3.0]}),
        ("", '{"inputs": {"x": [1.0], "unknown": 1}}', {"outputs": [2.5]}),
        ("", '{"inputs": [[[1, 2]]]}', {"outputs": [[[2.5, 3.0]]]}),
        ("", '{"inputs": 1}', {"outputs": 2.5}),
        ("", '{"inputs": {"x": 1}}', {"outputs": 2.5}),
        ("", '{"inputs": []}', {"outputs": []}),
        ("", '{"inputs": [[], []]}', {"outputs": [[], []]}),
        ("serving_default", '{"instances": [1]}', {"predictions": [2.5]}),
        ("scalar", '{"inputs": [1, 2]}', {"outputs": 3.0}),
        ("with_default", '{"inputs": {"x": [1, 2]}}', {"outputs": [11.0, 12.0]}),
        ("with_default", '{"inputs": {"x": [1, 2], "t": 5}}', {"outputs": [6.0, 7.0]}),
        ("with_default", '{"inputs": [1, 2]}', {"outputs": [11.0, 12.0]}),
        ("with_default", '{"instances": [{"x": 1}, {"x": 2}]}', {"predictions": [11.0, 12.0]}),
        ("with_default", '{"instances": [1, 2]}', {"predictions": [11.0, 12.0]}),
        ("no_inputs", '{"inputs": {}}', {"outputs": [2.0]}),
        ("no_inputs", "{}", {"outputs": [2.0]}),
        ("", '{"instances": [1]} and what follows', {"predictions": [2.5]}),
        ("", '{"instances": [1]}\0', {"predictions": [2.5]}),
        ("", '\ufeff{"instances": [1]}', {"predictions": [2.5]}),
        ("", '{"instances": [1]}}', {"predictions": [2.5]}),
        ("", '{"instances": [NaN]} {"inputs": 1}', {"predictions": [NAN]}),
        ("", '{"instances": [1e1, -2E+1, 0.5e-1]}', {"predictions": [7.0, -8.0, 2.025]}),
        (
            "two",
            '{"instances": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}]}',
            {"predictions": [{"a": 1.0, "b": "x"}, {"a": 2.0, "b": "y"}]},
        ),
        (
            "two",
            '{"inputs": {"a": [[1]], "b": ["x", "y"]}}',
            {"outputs": {"a": [[1.0]], "b": ["x", "y"]}},
        ),
        (
            "two",
            '{"inputs": {"a": 1, "b": "x", "c": 3}}',
            {"outputs": {"a": 1.0, "b": "x"}},
        ),
        ("uneven", '{"inputs": [1]}', {"outputs": {"one": [1.0], "two": [1.0, 1.0]}}),
        (
            "two_of_bytes",
            '{"instances": ["a"]}',
            {"predictions": [{"x": "a", "x_bytes": {"b64": "YQ=="}}]},
        ),
        (
            "constant",
            '{"instances": [1]}',
            {
                "predictions": [
                    0.1,
                    1e300,
                    5e-324,
                    9000000.0,
                    2.0,
                    -0.0,
                    NAN,
                    INF,
                    -INF,
                ]
            },
        ),
    ]
]

# How values of each dtype are read and written: signature, elements, what comes back.
_FLOATS = [
    ("[1, 1.5, -0.0, 1e2]", [1.0, 1.5, -0.0, 100.0]),
    ("[NaN, Infinity, -Infinity, Inf, -Inf]", [NAN, INF, -INF, INF, -INF]),
    ("[9007199254740993]", None),
    ("[[0.25], [-4]]", [[0.25], [-4.0]]),
]
_VALUES: dict[str, list[tuple[str, Any]]] = {
    "float": [
        *_FLOATS,
        ("[0.1, 3.4028235e38, 1e39, -1e39, 1e-50]", [0.1, 3.4028235e38, INF, -INF, 0.0]),
        ("[16777217]", [16777216.0]),
    ],
    "double": [
        *_FLOATS,
        (
            "[0.1, 1e300, 5e-324, 1.7976931348623157e308]",
            [0.1, 1e300, 5e-324, 1.7976931348623157e308],
        ),
        ("[1e-400]", [0.0]),
        ("[123456789012345678901234567890]", [1.2345678901234568e29]),
    ],
    "half": [*_FLOATS, ("[0.1, 65504, 1e6]", [0.1, 65500.0, INF])],
    "bfloat16": [*_FLOATS, ("[0.1, 3.0]", [0.100097656, 3.0])],
    "int8": [("[-128, 0, 127]", [-128, 0, 127]), ("[[1]]", [[1]])],
    "int16": [("[-32768, 32767]", [-32768, 32767])],
    "int32": [("[-2147483648, 2147483647]", [-(2**31), 2**31 - 1])],
    "int64": [("[-9223372036854775808, 9223372036854775807]", [-(2**63), 2**63 - 1])],
    "uint8": [("[0, 255]", [0, 255])],
    "uint16": [("[0, 65535]", [0, 65535])],
    "uint32": [("[0, 4294967295]", [0, 2**32 - 1])],
    "uint64": [("[0, 18446744073709551615]", [0, 2**64 - 1])],
    "bool": [("[true, false]", [True, False]), ("[[true], [false]]", [[True], [False]])],
    "string": [
        (
            '["a", "", "é", "\\u00e9\\n\\"\\\\\\/", "\\ud83d\\ude00"]',
            ["a", "", "é", 'é\n"\\/', "😀"],
        ),
        ('[{"b64": "YWJj"}, "d"]', ["abc", "d"]),
        ('[{"b64": "YQ=="}, {"b64": "YQ.."}, {"b64": "YQ"}, {"b64": ""}]', ["a", "a", "a", ""]),
        (r'[{"b64": " Y\nW\tJ\r\nj "}, {"b64": "Y Q = ="}]', ["abc", "a"]),
        ('[["NaN", "Infinity"], ["{", "]"]]', [["NaN", "Infinity"], ["{", "]"]]),
    ],
}
VALUES = [
    case
    for dtype, values in _VALUES.items()
    for elements, reply in values
    if reply is not None
    for case in (
        _predicted(f"echo_{dtype}", f'{{"instances": {elements}}}', {"predictions": reply}),
        _predicted(f"echo_{dtype}", f'{{"inputs": {elements}}}', {"outputs": reply}),
        _predicted(f"echo_{dtype}", f'{{"inputs": {{"x": {elements}}}}}', {"outputs": reply}),
    )
]

# Values of the wrong type: dtypes, value, how its type is called.
_FLOAT_TYPES = ["float", "double", "half", "bfloat16"]
_INT_TYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_MISTYPED = [
    (_FLOAT_TYPES + _INT_TYPES + ["bool", "string"], "null", "Null"),
    (_FLOAT_TYPES + _INT_TYPES + ["string"], "true", "True"),
    (_FLOAT_TYPES + _INT_TYPES + ["string"], "false", "False"),
    (_FLOAT_TYPES + _INT_TYPES + ["bool"], '"1"', "String"),
    (["bool", "string"], "1", "Number"),
    (["bool", "string"], "1.5", "Number"),
    (_INT_TYPES, "1.0", "Number"),
    (_INT_TYPES, "1e300", "Number"),
    (_INT_TYPES, "NaN", "Number"),
    (["uint8", "uint16", "uint32", "uint64"], "-1", "Number"),
    (["int8"], "128", "Number"),
    (["int16"], "-32769", "Number"),
    (["int32"], "2147483648", "Number"),
    (["int64"], "9223372036854775808", "Number"),
    (["uint8"], "256", "Number"),
    (["uint16"], "65536", "Number"),
    (["uint32"], "4294967296", "Number"),
    (["float", "int32", "bool"], '{"a": 1}', "Object"),
    (["float", "int32", "bool"], '{"b64": "YQ=="}', "Object"),
]


def _mistyped(dtype: str, value: str, kind: str) -> list[Case]:
    shown = {"1e300": "1e+300"}.get(value, value)
    text = f"JSON Value: {shown} Type: {kind} is not of expected type: {dtype}"
    element = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
    named = "Failed to process element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
    return [
        _refused(f"echo_{dtype}", f'{{"inputs": {{"x": [{value}]}}}}', text),
        _refused(f"echo_{dtype}", f'{{"instances": [[{value}]]}}', element + text),
        _refused(f"echo_{dtype}", f'{{"instances": [{{"x": {value}}}]}}', named + text),
    ]


MISTYPED = [
    case
    for dtypes, value, kind in _MISTYPED
    for dtype in dtypes
    for case in _mistyped(dtype, value, kind)
]

# Keys, names and shapes: signature, body, text.
_ELEMENT = "Failed to process element: {} of 'instances' list. Error: INVALID_ARGUMENT: "
_PLAIN_LIST = (
    "instances is a plain list, but expecting list of objects as multiple input tensors required "
    "as per tensorinfo_map"
)
REFUSALS = [
    _refused(*case)
    for case in [
        ("", "{}", "Missing 'inputs' or 'instances' key"),
        ("", '{"instance": [1]}', "Missing 'inputs' or 'instances' key"),
        ("two", "{}", "Missing 'inputs' or 'instances' key"),
        (
            "",
            '{"inputs": [1], "instances": [1]}',
            (
                "JSON Value: $BODY Not formatted correctly expecting only one of 'inputs' or "
                "'instances' keys to exist "
            ),
        ),
        ("", '{"instances": 1}', "JSON Value: $BODY Expecting 'instances' to be an list/array"),
        (
            "",
            '{"instances": {"x": [1]}}',
            "JSON Value: $BODY Expecting 'instances' to be an list/array",
        ),
        ("", '{"instances": null}', "JSON Value: $BODY Expecting 'instances' to be an list/array"),
        ("", '{"instances": []}', "JSON Value: $BODY No values in 'instances' array"),
        ("two", '{"instances": []}', "JSON Value: $BODY No values in 'instances' array"),
        ("", "[1]", "JSON Value: [1] Is not object"),
        ("", "1", "JSON Value: 1 Is not object"),
        ("", '"a"', 'JSON Value: "a" Is not object'),
        ("", "null", "JSON Value: null Is not object"),
        ("", "NaN", "JSON Value: NaN Is not object"),
        *(
            (
                "",
                f'{{"signature_name": {name}, "instances": [1]}}',
                (
                    "JSON Value: $BODY not formatted correctly. 'signature_name' key must be a "
                    "string value."
                ),
            )
            for name in ("1", "null", "true", '["a"]', '{"a": "b"}')
        ),
        ("no_inputs", '{"inputs": [1]}', "Failed to get input map for signature: no_inputs"),
        ("no_inputs", '{"instances": [{}]}', "Failed to get input map for signature: no_inputs"),
        ("no_outputs", '{"instances": [1]}', "Cannot convert empty tensor map to JSON"),
        ("no_outputs", '{"inputs": [1]}', "Cannot convert empty tensor map to JSON"),
        ("scalar", '{"instances": [1]}', "Tensor name: sum has no shape information "),
        (
            "uneven",
            '{"instances": [1]}',
            "Tensor name: two has inconsistent batch size: 2 expecting: 1",
        ),
        # Row format.
        (
            "two",
            '{"instances": [1, 2]}',
            _PLAIN_LIST,
        ),
        (
            "two",
            '{"instances": [[{"a": 1}]]}',
            _PLAIN_LIST,
        ),
        (
            "two",
            '{"instances": [{"a": 1, "b": "x"}, 7]}',
            "Expecting object but got list at item 1 of input list",
        ),
        (
            "",
            '{"instances": [{"x": 1}, [2]]}',
            "Expecting object but got list at item 1 of input list",
        ),
        (
            "",
            '{"instances": [1, {"x": 2}]}',
            "Expecting value/list but got object at item 1 of input list",
        ),
        (
            "echo_string",
            '{"instances": ["a", {"x": "b"}]}',
            "Expecting value/list but got object at item 1 of input list",
        ),
        *(
            (
                "two",
                f'{{"instances": [{element}]}}',
                (
                    "Failed to process element: 0 of 'instances' list. JSON object: "
                    f"{element} keys must be equal to: a,b"
                ),
            )
            for element in (
                "{}",
                '{"a": 1}',
                '{"a": 1, "c": "x"}',
                '{"a": 1, "b": "x", "c": 1}',
            )
        ),
        (
            "",
            '{"instances": [{"x": 1}, {"y": 1}]}',
            (
                "Failed to process element: 1 of 'instances' list. JSON object: "
                '{"y": 1} keys must be equal to: x'
            ),
        ),
        (
            "",
            '{"instances": [[1, 2], [3]]}',
            _ELEMENT.format(1) + "Expecting tensor size: 2 but got: 1",
        ),
        (
            "",
            '{"instances": [1, [2, 3]]}',
            _ELEMENT.format(1) + "Expecting tensor size: 1 but got: 2",
        ),
        (
            "",
            '{"instances": [[1, 2], [[3, 4]]]}',
            _ELEMENT.format(1) + "Expecting shape [2] but got: [1,2]",
        ),
        ("", '{"instances": [1, [2]]}', _ELEMENT.format(1) + "Expecting shape [] but got: [1]"),
        (
            "",
            '{"instances": [{"x": [1]}, {"x": [1, 2]}]}',
            (
                "Failed to process element: 1 key: x of 'instances' list. Error: INVALID_ARGUMENT: "
                "Expecting tensor size: 1 but got: 2"
            ),
        ),
        (
            "",
            '{"instances": [[1, [2]]]}',
            _ELEMENT.format(0) + "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            "",
            '{"instances": [[[1, 2], [3]]]}',
            _ELEMENT.format(0)
            + "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            "",
            '{"instances": [[[1], 2]]}',
            _ELEMENT.format(0) + "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
            "Expected at level: 2",
        ),
        # Columnar format.
        (
            "two",
            '{"inputs": [1]}',
            (
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            ),
        ),
        (
            "two",
            '{"inputs": 1}',
            (
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            ),
        ),
        ("with_default", '{"inputs": {"t": 1}}', "Missing named input: x in 'inputs' object."),
        ("two", '{"inputs": {}}', "Missing named input: a in 'inputs' object."),
        ("two", '{"inputs": {"a": 1}}', "Missing named input: b in 'inputs' object."),
        ("", '{"inputs": {"y": 1}}', "Missing named input: x in 'inputs' object."),
        ("", '{"inputs": null}', "JSON Value: null Type: Null is not of expected type: float"),
        (
            "",
            '{"inputs": [1, [2]]}',
            "Encountered list at unexpected level: 1 expected < 1",
        ),
        (
            "",
            '{"inputs": [[1, 2], [3]]}',
            "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
        ),
        (
            "",
            '{"inputs": [[[1]], [2]]}',
            "JSON Value: 2 found at incorrect level: 3 in the JSON DOM. Expected at level: 3",
        ),
        (
            "",
            '{"inputs": [[1], 2]}',
            "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        # Base64.
        *(
            (
                "echo_string",
                f'{{"inputs": {{"x": [{value}]}}}}',
                f"JSON Value: {value} not formatted correctly for base64 data",
            )
            for value in (
                '{"b64": 1}',
                '{"b64": null}',
                '{"b64": "YQ==", "c": 1}',
                '{"b65": "YQ=="}',
                "{}",
            )
        ),
        *(
            ("echo_string", f'{{"inputs": [{{"b64": "{text}"}}]}}', "Unable to base64 decode")
            for text in ("?", "Y", "_-8=", "YQ==YQ==", "Y Q=", "YQ=", "YWJj=", "é")
        ),
        (
            "echo_string",
            '{"instances": [{"b64": "?"}]}',
            _ELEMENT.format(0) + "Unable to base64 decode",
        ),
        # Types without a JSON form.
        *(
            (
                f"echo_{dtype}",
                f'{{"instances": [{value}]}}',
                (
                    "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: "
                    f"Conversion of JSON Value: {value} to type: {dtype}"
                ),
            )
            for dtype in ("complex64", "complex128")
            for value in ("1", '"1+2j"')
        ),
    ]
] + [
    _refused(
        f"echo_{dtype}",
        '{"inputs": [[1, 2]]}',
        f"Conversion of JSON Value: 1 to type: {dtype}",
        status=501,
    )
    for dtype in ("complex64", "complex128")
]

# Base64 stands for bytes at the place of a string, and nowhere else.
BASE64 = [
    _predicted(*case)
    for case in [
        ("echo_string", '{"inputs": {"b64": "YWJj"}}', {"outputs": "abc"}),
        ("echo_string", '{"inputs": {"x": {"b64": "YWJj"}}}', {"outputs": "abc"}),
        ("echo_string", '{"instances": [{"x": {"b64": "YWJj"}}]}', {"predictions": ["abc"]}),
        ("echo_string", '{"instances": [[{"b64": "YQ"}, "b"]]}', {"predictions": [["a", "b"]]}),
        ("b64", '{"instances": [{"b64": "YWJj"}]}', {"predictions": ["abc"]}),
        ("b64_number", '{"instances": [{"b64": 1}]}', {"predictions": [1.0]}),
        ("as_bytes", '{"instances": ["abc", ""]}', {"predictions": [{"b64": "YWJj"}, {"b64": ""}]}),
        ("as_bytes", '{"inputs": [["abc"]]}', {"outputs": [[{"b64": "YWJj"}]]}),
        ("as_bytes", '{"inputs": "a"}', {"outputs": {"b64": "YQ=="}}),
        ("as_bytes", '{"instances": [{"b64": "/+7d"}]}', {"predictions": [{"b64": "/+7d"}]}),
    ]
]

# What is no JSON: only prefix and position count.
SYNTAX = [
    *(
        Case("POST", target, body, 400, "JSON Parse error: ", begins=True)
        for target in (PREDICT, CLASSIFY, REGRESS)
        for body in (
            " ",
            "instances = [1, 2]",
            '{"a":1',
            '{"instances": [1, 2}',
            '{"instances": [1 2]}',
            '{"instances": [01]}',
            '{"instances": [1.]}',
            '{"instances": [.5]}',
            '{"instances": [1e]}',
            '{"instances": [+1]}',
            '{"instances": [1,]}',
            '{"instances": [nan]}',
            '{"instances": [INF]}',
            '{"instances" [1]}',
            "{instances: [1]}",
            '{"instances": ["a]}',
            '{"instances": ["\\x"]}',
            '{"instances": ["\\u12"]}',
            '{"instances": ["\\ud800"]}',
            '{"instances": ["\t"]}',
            '{"v":1e400}',
            '{"v":-1e400}',
            "[" * 2000 + "]" * 2000,
        )
    ),
    *(
        Case("POST", target, "", 400, "JSON Parse error: The document is empty")
        for target in (PREDICT, CLASSIFY, REGRESS)
    ),
]

# Paths.
_BODY = '{"instances": [1]}'


def _routed(target: str, reply: Any, version: int, body: str = _BODY) -> Case:
    return Case("POST", target, body, 200, reply, version=version)


def _misrouted(method: str, target: str, status: int, text: str, body: str = "") -> Case:
    return Case(method, target, body, status, text)


def _absent(method: str, target: str, status: int, text: str, body: str = "") -> Case:
    return Case(method, target, body, status, f"{text}; ", begins=True)


_PREDICTED = {"predictions": [2.5]}
ROUTES = [
    _routed("/v1/models/rest:predict", _PREDICTED, 2),
    _routed("/v1/models/rest/versions/1:predict", _PREDICTED, 1),
    _routed("/v1/models/rest/versions/2:predict", _PREDICTED, 2),
    _routed("/v1/models/rest/versions/0001:predict", _PREDICTED, 1),
    _routed("/v1/models/rest/labels/stable:predict", _PREDICTED, 1),
    _routed("/v1/models/rest/labels/s%74able:predict", _PREDICTED, 1),
    _routed("/V1/Models/rest/Versions/1:Predict", _PREDICTED, 1),
    _routed("/v1/models/%72est:predict", _PREDICTED, 2),
    _routed("/v1/models/a%2Fb%3Ac%20%C3%A4:predict", _PREDICTED, 1),
    _routed("/v1/models/a%2fb%3ac%20%c3%a4/versions/1:predict", _PREDICTED, 1),
    *(
        _misrouted(method, target, 400, f"Malformed request: {method} {target}")
        for method, target in [
            ("GET", "/v1/models/rest:predict"),
            ("PUT", "/v1/models/rest:predict"),
            ("DELETE", "/v1/models/rest"),
            ("PATCH", "/v1/models/rest:predict"),
            ("POST", "/v1/models/rest"),
            ("POST", "/v1/models/rest/metadata"),
            ("POST", "/v1/models"),
            ("POST", "/v1/models/:predict"),
            ("POST", "/v1/models/rest:predict?x=1"),
            ("POST", "/v1/models/rest:predict/"),
            ("POST", "/v1/models/rest:multi_inference"),
            ("POST", "/v1/models/rest/versions/one:predict"),
            ("POST", "/v1/models/rest/versions/-1:predict"),
            ("POST", "/v1/models/rest/versions/:predict"),
            ("POST", "/v1/models/rest/labels/:predict"),
            ("POST", "/v1/models/rest/versions/1/labels/stable:predict"),
            ("POST", "/v1/models/a/b:predict"),
            ("GET", "/v1/models/"),
            ("GET", "/v1/models/rest/"),
            ("GET", "/v1/models/rest/nothing"),
            ("GET", "/v1/models/rest/versions"),
            ("GET", "/v1/nothing"),
            ("GET", "/v1/"),
        ]
    ),
    _absent("GET", "/v1/models/rest?x=1", 404, "Could not find any versions of model rest?x=1"),
    _misrouted("GET", "/v1/models/versions/1", 400, "Missing model name in request."),
    _misrouted("GET", "/v1/models/labels/stable", 400, "Missing model name in request."),
    _misrouted("GET", "/v1", 404, "Nothing is served at GET /v1"),
    _misrouted("GET", "/", 404, "Nothing is served at GET /"),
    _misrouted(
        "POST", "/v3/models/rest:predict", 404, "Nothing is served at POST /v3/models/rest:predict"
    ),
    *(
        _misrouted(
            method, target, 400, "Failed to convert version: 9223372036854775808 to numeric."
        )
        for method, target in [
            ("GET", "/v1/models/rest/versions/9223372036854775808"),
            ("GET", "/v1/models/rest/versions/9223372036854775808/metadata"),
            ("POST", "/v1/models/rest/versions/9223372036854775808:predict"),
        ]
    ),
]

# Models, versions and labels that are not there; over gRPC it is the same text.
_EXAMPLES = '{"examples": [{"a": 1}]}'
NOT_FOUND = [
    _absent(method, target, status, text, body)
    for verb, body in [("predict", _BODY), ("classify", _EXAMPLES), ("regress", _EXAMPLES)]
    for method, target, status, text in [
        ("POST", f"/v1/models/other:{verb}", 404, "Servable not found for request: Latest(other)"),
        (
            "POST",
            f"/v1/models/rest/versions/7:{verb}",
            404,
            "Servable not found for request: Specific(rest, 7)",
        ),
        (
            "POST",
            f"/v1/models/rest/versions/3:{verb}",
            404,
            "Servable not found for request: Specific(rest, 3)",
        ),
        (
            "POST",
            f"/v1/models/rest/labels/canary:{verb}",
            400,
            "Unrecognized servable version label: canary",
        ),
    ]
] + [
    _absent("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
    _absent("GET", "/v1/models/rest/versions/7", 404, "Could not find version 7 of model rest"),
    _absent(
        "GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"
    ),
    _absent(
        "GET",
        "/v1/models/rest/versions/7/metadata",
        404,
        "Servable not found for request: Specific(rest, 7)",
    ),
    _absent(
        "GET",
        "/v1/models/rest/labels/canary/metadata",
        400,
        "Unrecognized servable version label: canary",
    ),
]

# Syntax comes first, then the name of the signature, the model, the signature, the tensors;
# but of examples everything comes before the model.
ORDER = [
    _absent(
        "POST",
        "/v1/models/other:predict",
        404,
        "Servable not found for request: Latest(other)",
        body,
    )
    for body in ("{}", '{"instances": ["no number"]}', '{"signature_name": "absent", "inputs": 1}')
] + [
    Case("POST", "/v1/models/other:predict", "{", 400, "JSON Parse error: ", begins=True),
    _misrouted(
        "POST",
        "/v1/models/other:predict",
        400,
        "JSON Value: {\"signature_name\": 1} not formatted correctly. 'signature_name' key must be "
        "a string value.",
        '{"signature_name": 1}',
    ),
    _misrouted(
        "POST",
        "/v1/models/other:classify",
        400,
        "Example must be JSON object but got JSON Number",
        '{"examples": [1]}',
    ),
]

# A signature that is not there.
ABSENT = [
    Case(
        "POST",
        PREDICT,
        _named("absent", body),
        400,
        'Serving signature name: "absent" not found in signature def; it has "as_bytes", "b64", ',
        begins=True,
    )
    for body in ('{"instances": [1]}', "{}")
]

# Status codes.
STATUS = [
    _refused(f"fails_{name}", _BODY, f'the model\'s "{name}"', status=status)
    for name, status in [
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INVALID_ARGUMENT", 400),
        ("DEADLINE_EXCEEDED", 504),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("PERMISSION_DENIED", 403),
        ("RESOURCE_EXHAUSTED", 429),
        ("FAILED_PRECONDITION", 400),
        ("ABORTED", 409),
        ("OUT_OF_RANGE", 400),
        ("UNIMPLEMENTED", 501),
        ("INTERNAL", 500),
        ("UNAVAILABLE", 503),
        ("DATA_LOSS", 500),
        ("UNAUTHENTICATED", 401),
    ]
]


def _classified(signature: str, body: str, reply: Any) -> Case:
    return Case("POST", CLASSIFY, _named(signature, body), 200, {"results": reply}, version=2)


def _regressed(body: str, reply: Any) -> Case:
    return Case("POST", REGRESS, _named("regress", body), 200, {"results": reply}, version=2)


# The model's first label is what it sees of the example, the score the sum of its numbers.
EXAMPLES = (
    [
        _classified(
            "classify",
            f'{{"examples": [{{"f": {value}}}]}}',
            [[[f"f={seen}", number], ["other", third]]],
        )
        for value, seen, number, third in [
            ("1", "int64_list[1]", 1.0, 0.33333334),
            (
                "-9223372036854775808",
                "int64_list[-9223372036854775808]",
                -9.223372e18,
                -3.0744574e18,
            ),
            ("9223372036854775807", "int64_list[9223372036854775807]", 9.223372e18, 3.0744574e18),
            ("true", "int64_list[1]", 1.0, 0.33333334),
            ("[1, 2]", "int64_list[1, 2]", 3.0, 1.0),
            ("[1, true, false]", "int64_list[1, 1, 0]", 2.0, 0.6666667),
            ("1.5", "float_list[1.5]", 1.5, 0.5),
            ("1e0", "float_list[1.0]", 1.0, 0.33333334),
            ("[1.0, -2.5]", "float_list[1.0, -2.5]", -1.5, -0.5),
            ("NaN", "float_list[nan]", NAN, NAN),
            ("[Infinity, 1.0]", "float_list[inf, 1.0]", INF, INF),
            ("-Infinity", "float_list[-inf]", -INF, -INF),
            ('"a"', "bytes_list[b'a']", 0.0, 0.0),
            ('["a", "é"]', "bytes_list[b'a', b'\\xc3\\xa9']", 0.0, 0.0),
            ('{"b64": "/w=="}', "bytes_list[b'\\xff']", 0.0, 0.0),
            ('["a", {"b64": "Yg"}]', "bytes_list[b'a', b'b']", 0.0, 0.0),
            ("[]", "None[]", 0.0, 0.0),
        ]
    ]
    + [
        _classified(*case)
        for case in [
            ("classify", '{"examples": [{}]}', [[["", 0.0], ["other", 0.0]]]),
            (
                "classify",
                '{"examples": [{"a": 3}, {"b": 6.0}]}',
                [
                    [["a=int64_list[3]", 3.0], ["other", 1.0]],
                    [["b=float_list[6.0]", 6.0], ["other", 2.0]],
                ],
            ),
            (
                "classify",
                '{"context": {"c": 3}, "examples": [{"a": 3}, {"c": 6.0}]}',
                [
                    [["a=int64_list[3] c=int64_list[3]", 6.0], ["other", 2.0]],
                    [["c=float_list[6.0]", 6.0], ["other", 2.0]],
                ],
            ),
            (
                "classify",
                '{"context": {}, "examples": [{"a": 3}]}',
                [[["a=int64_list[3]", 3.0], ["other", 1.0]]],
            ),
            (
                "classes_only",
                '{"examples": [{"a": 3}]}',
                [[["a=int64_list[3]", 0.0], ["other", 0.0]]],
            ),
            ("scores_only", '{"examples": [{"a": 3}]}', [[["", 3.0], ["", 1.0]]]),
        ]
    ]
    + [
        _regressed(*case)
        for case in [
            ('{"examples": [{"a": 3}]}', [3.0]),
            ('{"examples": [{"a": 0.1}, {"a": [1, 2]}]}', [0.1, 3.0]),
            ('{"examples": [{"a": "text"}]}', [0.0]),
            ('{"examples": [{"a": NaN}, {"a": Infinity}]}', [NAN, INF]),
            ('{"context": {"c": 1}, "examples": [{"a": 3}, {"c": 5}]}', [4.0, 5.0]),
        ]
    ]
)


def _bad_examples(body: str, text: str) -> list[Case]:
    return [
        Case("POST", target, body, 400, text.replace("$BODY", body))
        for target in (CLASSIFY, REGRESS)
    ]


BAD_EXAMPLES = [
    case
    for body, text in [
        (
            "{}",
            (
                "JSON Value: $BODY When method is classify, key 'examples' is expected "
                "and was not found"
            ),
        ),
        (
            '{"instances": [1]}',
            (
                "JSON Value: $BODY When method is classify, key 'examples' is expected "
                "and was not found"
            ),
        ),
        ('{"examples": 1}', "JSON Value: $BODY Expecting 'examples' value to be an list/array"),
        ('{"examples": {}}', "JSON Value: $BODY Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "JSON Value: $BODY 'examples' value is an empty array"),
        ("[]", "JSON Value: [] Is not object"),
        (
            '{"signature_name": 1, "examples": [{}]}',
            (
                "JSON Value: $BODY not formatted correctly. 'signature_name' key must be a string "
                "value."
            ),
        ),
        *(
            (f'{{"{key}": {value}}}', f"Example must be JSON object but got JSON {kind}")
            for value, kind in [
                ("null", "Null"),
                ("true", "True"),
                ("false", "False"),
                ("1", "Number"),
                ('"a"', "String"),
                ("[1]", "Array"),
            ]
            for key, value in (("context", value), ('examples": [{}], "context', value))
        ),
        *(
            (f'{{"examples": [{{}}, {value}]}}', f"Example must be JSON object but got JSON {kind}")
            for value, kind in [("null", "Null"), ("1.5", "Number"), ("[]", "Array")]
        ),
        *(
            (
                f'{{"examples": [{{"f": {value}}}]}}',
                f"Feature: f has element with unexpected JSON type: {kind}",
            )
            for value, kind in [
                ("null", "Null"),
                ("[null]", "Null"),
                ("[[1]]", "Array"),
                ("[1, []]", "Array"),
                ('{"a": 1}', "Object"),
                ('{"b64": 1}', "Object"),
                ('[{"b64": "YQ==", "x": 1}]', "Object"),
            ]
        ),
        *(
            (
                f'{{"examples": [{{"f": {value}}}]}}',
                f"Unexpected element type in feature: f expecting type: {kind}",
            )
            for value, kind in [
                ("[1, 1.0]", "int64"),
                ('[1, "a"]', "int64"),
                ("[true, 0.5]", "int64"),
                ("[1.0, 1]", "float"),
                ('[0.5, "a"]', "float"),
                ("[NaN, true]", "float"),
                ('["a", 1]', "bytes"),
                ('[{"b64": "YQ"}, 1.5]', "bytes"),
                ('["a", true, null]', "bytes"),
            ]
        ),
        *(
            (
                f'{{"examples": [{{"f": {value}}}]}}',
                "Feature: f has uint64_t element. Only int64_t is supported.",
            )
            for value in ("9223372036854775808", "[1, 18446744073709551615]")
        ),
        ('{"examples": [{"f": {"b64": "?"}}]}', "Unable to base64 decode"),
        ('{"context": 1, "examples": 1}', "Example must be JSON object but got JSON Number"),
    ]
    for case in _bad_examples(body, text)
]

# Signatures that are not there, or not for it; over gRPC it is the same text.
NOT_FOR_EXAMPLES = [
    Case("POST", target, _named(signature, _EXAMPLES), 400, text, begins=True)
    for target, signature, text in [
        (CLASSIFY, "absent", "No signature was found with the name: absent"),
        (REGRESS, "absent", "No signature was found with the name: absent"),
        (CLASSIFY, "", "No classification inputs found in SignatureDef: "),
        (REGRESS, "", "No regression inputs found in SignatureDef: "),
        (CLASSIFY, "two", "Expected one input Tensor."),
        (REGRESS, "two", "Expected one input Tensor."),
        (REGRESS, "classify", "Expected one output Tensor."),
        (REGRESS, "scores_only", "No regression outputs found in SignatureDef: "),
        (
            CLASSIFY,
            "regress",
            "Expected classification signature outputs to contain at least one of",
        ),
    ]
]

_AVAILABLE = {"error_code": "OK", "error_message": ""}
_VERSION_1 = {"version": "1", "state": "AVAILABLE", "status": _AVAILABLE}
_VERSION_2 = {"version": "2", "state": "AVAILABLE", "status": _AVAILABLE}
_VERSION_3 = {
    "version": "3",
    "state": "END",
    "status": {"error_code": "DATA_LOSS", "error_message": "the disk is full of holes"},
}


def _status(target: str, *versions: Any) -> Case:
    return Case("GET", target, "", 200, {"model_version_status": list(versions)})


MODEL_STATUS = [
    _status("/v1/models/rest", _VERSION_3, _VERSION_2, _VERSION_1),
    _status("/v1/models/rest/versions/1", _VERSION_1),
    _status("/v1/models/rest/versions/3", _VERSION_3),
    _status("/v1/models/rest/labels/stable", _VERSION_3, _VERSION_2, _VERSION_1),
    _absent(
        "GET",
        "/v1/models/rest/labels/unknown",
        404,
        "Unrecognized servable version label: unknown",
    ),
    _status("/V1/Models/rest/Versions/2", _VERSION_2),
    _status("/v1/models/a%2Fb%3Ac%20%C3%A4", _VERSION_1),
]

CASES: list[Case] = [
    *FORMATS,
    *VALUES,
    *BASE64,
    *MISTYPED,
    *REFUSALS,
    *SYNTAX,
    *ROUTES,
    *NOT_FOUND,
    *ORDER,
    *ABSENT,
    *STATUS,
    *EXAMPLES,
    *BAD_EXAMPLES,
    *NOT_FOR_EXAMPLES,
    *MODEL_STATUS,
]
