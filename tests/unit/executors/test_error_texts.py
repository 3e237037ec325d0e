from __future__ import annotations

import logging

import pytest

from sigrun.errors import (
    Code,
    DataLoss,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unknown,
)
from sigrun.executors.error_texts import error_from, readable

# Left: what TensorFlow 2.21 said of failing models, files renamed. Right: what a caller reads.
MESSAGES = {
    "a session, sequential": (
        "Input to reshape is a tensor with 4 values, but the requested shape has 3",
        "Input to reshape is a tensor with 4 values, but the requested shape has 3",
    ),
    "a session": (
        "Matrix size-incompatible: In[0]: [1,3], In[1]: [4,1]\n\t [[{{node MatMul}}]]",
        "Matrix size-incompatible: In[0]: [1,3], In[1]: [4,1] (node MatMul)",
    ),
    "a node of TensorFlow's own": (
        "Type mismatch: actual double vs. expect float\n\t [[{{node _arg_x_0_0}}]]",
        "Type mismatch: actual double vs. expect float",
    ),
    "a node that the text names": (
        "You must feed a value for placeholder tensor 'x1' with dtype double\n\t [[{{node x1}}]]",
        "You must feed a value for placeholder tensor 'x1' with dtype double",
    ),
    "a function in a session": (
        (
            "Unknown image file format. One of JPEG, JPEG XL, PNG, GIF, BMP, WebP required.\n"
            "\t [[{{function_node map_while_body_179}}{{node map/while/DecodePng}}]]"
        ),
        (
            "Unknown image file format. One of JPEG, JPEG XL, PNG, GIF, BMP, WebP required."
            " (node map/while/DecodePng)"
        ),
    ),
    "an assertion": (
        (
            "assertion failed: [must be positive.  ] [Condition x > 0 did not hold element-wise:] "
            "[x (x:0) = ] [-1]\n"
            "\t [[{{function_node assert_positive_Assert_AssertGuard_false_27}}{{node Assert}}]]"
        ),
        (
            "assertion failed: [must be positive.  ] [Condition x > 0 did not hold element-wise:] "
            "[x (x:0) = ] [-1] (node Assert)"
        ),
    ),
    "a function": (
        (
            "Graph execution error:\n\n"
            "Detected at node GatherV2 defined at (most recent call last):\n"
            "<stack traces unavailable>\nindices = 7 is not in [0, 3)\n\t [[{{node GatherV2}}]] "
            "[Op:__inference_signature_wrapper_loop_196]"
        ),
        "indices = 7 is not in [0, 3) (node GatherV2)",
    ),
    "a function of Keras": (
        (
            "{{function_node __inference_<lambda>_353}} Input to reshape is a tensor with "
            "4 values, but the requested shape has 3\n\t [[{{node Reshape}}]] "
            "[Op:__inference_<lambda>_353]"
        ),
        "Input to reshape is a tensor with 4 values, but the requested shape has 3 (node Reshape)",
    ),
    "with the stack of Python": (
        (
            "Graph execution error:\n\nDetected at node 'z' defined at (most recent call last):\n"
            '    File "/app/model.py", line 12, in <module>\n      z = tf.reshape(x, [3])\n'
            "Node: 'z'\n"
            "Input to reshape is a tensor with 2 values, but the requested shape has 3\n"
            "\t [[{{node z}}]]\n\nOriginal stack trace for 'z':\n"
            '  File "/app/model.py", line 12, in <module>\n'
            '  File "/lib/tensorflow/python/ops/array_ops.py", line 199, in reshape\n'
        ),
        "Input to reshape is a tensor with 2 values, but the requested shape has 3 (node z)",
    ),
    "an uninitialised variable": (
        (
            "Graph execution error:\n\n"
            "Detected at node 'vv/read' defined at (most recent call last):\n"
            "    File \"/app/model.py\", line 15, in <module>\nNode: 'vv/read'\n"
            "Attempting to use uninitialized value vv\n\t [[{{node vv/read}}]]"
        ),
        "Attempting to use uninitialized value vv (node vv/read)",
    ),
    "several roots": (
        (
            "2 root error(s) found.\n"
            "  (0) INVALID_ARGUMENT: must be positive\n\t [[{{node Assert}}]]\n"
            "\t [[Assert/_13]]\n"
            "  (1) INVALID_ARGUMENT: must be positive\n\t [[{{node Assert}}]]\n"
            "0 successful operations.\n0 derived errors ignored."
        ),
        "must be positive (node Assert)",
    ),
    "memory of a GPU": (
        (
            "2 root error(s) found.\n"
            "  (0) RESOURCE_EXHAUSTED: OOM when allocating tensor with shape[1000,48,48,96] and "
            "type float on /job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc\n"
            "\t [[{{function_node __inference___call___6040_frozen_5}}{{node block_1/conv}}]]\n"
            "Hint: If you want to see a list of allocated tensors when OOM happens, add "
            "report_tensor_allocations_upon_oom to RunOptions for current allocation info. This "
            "isn't available when running in Eager mode.\n\n"
            "\t [[frozen/StatefulPartitionedCall_1/_2647]]\n"
            "Hint: If you want to see a list of allocated tensors when OOM happens, add "
            "report_tensor_allocations_upon_oom to RunOptions for current allocation info. This "
            "isn't available when running in Eager mode.\n\n"
            "0 successful operations.\n0 derived errors ignored."
        ),
        (
            "OOM when allocating tensor with shape[1000,48,48,96] and type float on "
            "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc "
            "(node block_1/conv)"
        ),
    ),
    "brackets that are values": (
        "assertion failed: [x = ] [[1 2][3 4]]",
        "assertion failed: [x = ] [[1 2][3 4]]",
    ),
    "lines of the model's own": (
        "first\nsecond\n\t [[{{node _arg}}]]",
        "first\nsecond",
    ),
    "nothing but notation": ("[[{{node a}}]]", "[[{{node a}}]]"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_is_told_once_without_the_machinery(kind: str) -> None:
    message, text = MESSAGES[kind]

    assert readable(message) == text


def test_a_message_fits_into_a_header() -> None:
    text = readable("x" * 100_000)

    assert len(text) <= 2048
    assert text.endswith("...")


class OpError(Exception):
    """What TensorFlow raises, as far as it matters."""

    def __init__(self, message: str, error_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = error_code


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OpError("m\n\t [[{{node _a}}]]", 3), InvalidArgument),
        (OpError("m", 15), DataLoss),
        (OpError("m", 2), Unknown),
        (OpError("m", 99), Unknown),
        (ValueError("m"), InvalidArgument),
        (MemoryError("m"), ResourceExhausted),
        (NotFound("m"), NotFound),
    ],
)
def test_an_error_keeps_its_code_and_its_text(error: Exception, kind: type[Exception]) -> None:
    told = error_from(error)

    assert type(told) is kind
    assert str(told) == "m"


def test_an_error_that_nobody_expects_is_internal_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        told = error_from(ZeroDivisionError("division by zero"))

    assert isinstance(told, Internal)
    assert told.code is Code.INTERNAL
    assert str(told) == "ZeroDivisionError: division by zero"
    assert caplog.records[0].exc_info is not None


NOT_REGISTERED = (
    "Op type not registered '{name}' in binary running on host. Make sure the Op and Kernel are "
    "registered in the binary running in this process. Note that if you are loading a saved graph "
    "which used ops from tf.contrib (e.g. `tf.contrib.resampler`), accessing should be done before "
    "importing the graph."
)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "WordpieceTokenizeWithOffsets",
            "the package tensorflow-text usually brings it; install it",
        ),
        ("TFText>NgramsStringJoin", "the package tensorflow-text usually brings it; install it"),
        ("SentencepieceOp", "the package tensorflow-text usually brings it; install it"),
        ("Addons>BytesInUse", "the package tensorflow-addons usually brings it; install it"),
        ("SimpleMLInferenceOpWithHandle", "the package tensorflow-decision-forests usually"),
        ("Ours", "a library brings it, such as those in the packages tensorflow-text, "),
    ],
)
def test_a_missing_operation_is_named_with_where_it_comes_from(name: str, source: str) -> None:
    text = readable(NOT_REGISTERED.replace("{name}", name))

    assert text.startswith(f"Op type not registered '{name}' in binary running on host. ")
    assert f"The operation {name} is not one of TensorFlow's own: {source}" in text
    assert "tf.contrib" not in text


def test_the_scope_of_an_optimised_graph_is_not_told() -> None:
    message = (
        "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,1]\n\t [[{{node frozen/dense/MatMul}}]]"
    )

    assert readable(message).endswith("(node dense/MatMul)")
