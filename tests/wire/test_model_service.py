"""Status and reload over gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import (
    GetModelStatusRequest,
    ModelVersionStatus,
)
from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from sigrun._gen.tensorflow_serving.config.model_server_config_pb2 import (
    ModelConfig,
    ModelConfigList,
    ModelServerConfig,
)
from sigrun.config.models import ModelSet
from sigrun.errors import Code, DataLoss
from sigrun.servables.state import State
from tests.wire.clients import NAME, GrpcClient, failure, soon, spec_of
from tests.wire.rig import Rig, tuned

pytestmark = pytest.mark.asyncio

OTHER = "other"


async def status(client: GrpcClient, **spec: Any) -> list[tuple[int, str]]:
    answer = await client.call(GetModelStatusRequest(model_spec=spec_of(**spec)))
    return [
        (version.version, ModelVersionStatus.State.Name(version.state))
        for version in answer.model_version_status
    ]


def config_of(rig: Rig, name: str, **fields: Any) -> ModelConfig:
    return ModelConfig(
        **{
            "name": name,
            "base_path": str(rig.folder / name),
            "model_platform": "tensorflow",
            **fields,
        }
    )


def reload_to(*models: ModelConfig) -> ReloadConfigRequest:
    return ReloadConfigRequest(
        config=ModelServerConfig(model_config_list=ModelConfigList(config=models))
    )


class TestGetModelStatus:
    async def test_every_version_has_a_state_highest_first(self, rig: Rig) -> None:
        rig.held.add(f"{NAME}:3")
        client = await rig.start(1, 2)

        rig.add_version(3)
        await rig.until_states({3: State.LOADING})

        assert await status(client) == [(3, "LOADING"), (2, "AVAILABLE"), (1, "AVAILABLE")]

    async def test_one_version_can_be_asked_for(self, rig: Rig) -> None:
        client = await rig.start(1, 2)

        assert await status(client, version=1) == [(1, "AVAILABLE")]

    async def test_a_label_does_not_narrow_it(self, rig: Rig) -> None:
        client = await rig.start(1, 2)

        await client.call(reload_to(config_of(rig, NAME, version_labels={"stable": 1})))

        assert len(await status(client, label="stable")) == 2

    async def test_a_version_that_failed_tells_why(self, rig: Rig) -> None:
        rig.errors[f"{NAME}:2"] = DataLoss("the file is cut short")
        client = await rig.start(1, 2)

        answer = await client.call(GetModelStatusRequest(model_spec=spec_of(version=2)))

        (version,) = answer.model_version_status
        assert version.state == ModelVersionStatus.END
        assert version.status.error_code == Code.DATA_LOSS
        assert version.status.error_message == "the file is cut short"

    async def test_a_version_that_is_gone_has_ended(self, rig: Rig) -> None:
        client = await rig.start(1, 2)

        rig.remove_version(1)
        await rig.until_states({1: State.END})

        assert await status(client) == [(2, "AVAILABLE"), (1, "END")]

    async def test_every_request_that_does_not_fit_is_refused_with_its_text(self, rig: Rig) -> None:
        client = await rig.start()

        assert await failure(client.call(GetModelStatusRequest())) == (
            "INVALID_ARGUMENT",
            "Missing ModelSpec",
        )
        assert await failure(status(client, name="other")) == (
            "NOT_FOUND",
            (
                "Could not find any versions of model other; there is no model other, this server "
                "has model half_plus_two"
            ),
        )
        assert await failure(status(client, name="")) == (
            "NOT_FOUND",
            (
                "Could not find any versions of model ; no model is named, this server has model "
                "half_plus_two"
            ),
        )
        assert await failure(status(client, version=7)) == (
            "NOT_FOUND",
            "Could not find version 7 of model half_plus_two; half_plus_two has version 1",
        )
        assert await failure(status(client, label="nightly")) == (
            "NOT_FOUND",
            "Unrecognized servable version label: nightly; half_plus_two has no labels",
        )


class TestReload:
    async def test_a_model_that_is_added_is_served_when_the_answer_comes(self, rig: Rig) -> None:
        client = await rig.start()
        rig.add_version(5, OTHER)

        answer = await client.call(reload_to(config_of(rig, NAME), config_of(rig, OTHER)))

        assert answer.status.error_code == 0
        assert answer.status.error_message == ""
        assert (await client.predict(1, name=OTHER)).model_spec.version.value == 5
        await client.predict(1)

    async def test_a_model_that_is_left_out_is_unloaded(self, rig: Rig) -> None:
        client = await rig.start()
        rig.add_version(1, OTHER)

        await client.call(reload_to(config_of(rig, OTHER)))
        await rig.until_states({1: State.END})

        assert await failure(client.predict(1)) == (
            "NOT_FOUND",
            (
                "Servable not found for request: Latest(half_plus_two); there is no model "
                "half_plus_two, this server has model other"
            ),
        )

    async def test_an_empty_list_unloads_everything(self, rig: Rig) -> None:
        client = await rig.start()

        await client.call(reload_to())
        await rig.until_states({1: State.END})

        assert rig.server.models.current == ModelSet()

    async def test_labels_are_taken_over(self, rig: Rig) -> None:
        client = await rig.start(1, 2)
        config = config_of(rig, NAME, version_labels={"stable": 1, "canary": 2})
        config.model_version_policy.all.SetInParent()

        await client.call(reload_to(config))

        for label, version in (("stable", 1), ("canary", 2)):
            answer = await client.predict(1, label=label)
            assert answer.model_spec.version.value == version
            assert answer.model_spec.WhichOneof("version_choice") == "version"

    async def test_metrics_that_are_asked_for_are_answered(self, rig: Rig) -> None:
        client = await rig.start()
        request = reload_to(config_of(rig, NAME))
        request.metric_names.append("/tensorflow/serving/unknown")

        answer = await client.call(request)

        assert [(m.name, m.int64_value_increase) for m in answer.metric] == [
            ("/tensorflow/serving/unknown", 0)
        ]

    async def test_every_config_that_does_not_fit_is_refused_with_its_text(self, rig: Rig) -> None:
        client = await rig.start()
        custom = ReloadConfigRequest()
        custom.config.custom_model_config.SetInParent()
        logged = config_of(rig, NAME)
        logged.logging_config.SetInParent()
        labelled = config_of(rig, NAME, version_labels={"stable": 7})
        only_lists = (
            "INVALID_ARGUMENT",
            (
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            ),
        )
        refusals: dict[str, tuple[ReloadConfigRequest, tuple[str, str]]] = {
            "nothing": (ReloadConfigRequest(), only_lists),
            "an empty config": (ReloadConfigRequest(config=ModelServerConfig()), only_lists),
            "a custom config": (custom, only_lists),
            "a model twice": (
                reload_to(config_of(rig, NAME), config_of(rig, NAME)),
                (
                    "INVALID_ARGUMENT",
                    "Illegal to list model half_plus_two multiple times in config list",
                ),
            ),
            "a relative path": (
                reload_to(config_of(rig, NAME, base_path="models/m")),
                (
                    "INVALID_ARGUMENT",
                    (
                        "Expected model half_plus_two to have an absolute path or URI; "
                        "got base_path()=models/m"
                    ),
                ),
            ),
            "neither type nor platform": (
                reload_to(config_of(rig, NAME, model_platform="")),
                (
                    "INVALID_ARGUMENT",
                    (
                        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                        "ModelServerConfig::model_platform, model name is half_plus_two"
                    ),
                ),
            ),
            "both type and platform": (
                reload_to(config_of(rig, NAME, model_type=1)),
                (
                    "INVALID_ARGUMENT",
                    (
                        "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                        "ModelServerConfig::model_platform, model name is half_plus_two"
                    ),
                ),
            ),
            "another type": (
                reload_to(config_of(rig, NAME, model_platform="", model_type=2)),
                ("INVALID_ARGUMENT", "ModelServerConfig::model_type choice 2 not supported."),
            ),
            "another platform": (
                reload_to(config_of(rig, NAME, model_platform="pytorch")),
                (
                    "INVALID_ARGUMENT",
                    "Model half_plus_two requests unsupported platform pytorch",
                ),
            ),
            "request logging": (
                reload_to(logged),
                (
                    "INVALID_ARGUMENT",
                    (
                        "logging_config of model half_plus_two: "
                        "log_collector_config.filename_prefix is '', and should be an absolute "
                        "path and the beginning of a file's name, such as /var/log/sigrun/my_model"
                    ),
                ),
            ),
            "a label on a version that is not there": (
                reload_to(labelled),
                (
                    "FAILED_PRECONDITION",
                    (
                        "Request to assign label to version 7 of model half_plus_two, "
                        "which is not currently available for inference"
                    ),
                ),
            ),
        }

        told = {case: await failure(client.call(r)) for case, (r, _) in refusals.items()}

        assert told == {case: expected for case, (_, expected) in refusals.items()}
        assert (await client.predict(1)).model_spec.version.value == 1

    async def test_a_model_without_base_path_is_refused_and_the_old_set_goes_on(
        self, rig: Rig
    ) -> None:
        client = await rig.start()

        code, text = await failure(client.call(reload_to(config_of(rig, "nowhere"))))

        assert code == "INVALID_ARGUMENT"
        assert text.startswith(f"Could not find base path {rig.folder / 'nowhere'} for servable")
        await client.predict(1)

    async def test_a_model_that_does_not_load_is_refused_and_the_old_set_goes_on(
        self, rig: Rig
    ) -> None:
        client = await rig.start()
        rig.add_version(5, OTHER)
        rig.errors[f"{OTHER}:5"] = DataLoss("the file is cut short")

        told = await failure(client.call(reload_to(config_of(rig, OTHER))))

        assert told == (
            "UNKNOWN",
            (
                "1 model(s) did not become available: {{name: other version: 5} due to error: "
                "DATA_LOSS: the file is cut short}, }"
            ),
        )
        await client.predict(1)

    async def test_a_reload_ends_in_time_though_a_model_never_loads(self, rig: Rig) -> None:
        rig.held.add(f"{OTHER}:5")
        client = await rig.start(lifecycle=tuned(settle_timeout_s=0.5))
        rig.add_version(5, OTHER)

        told = await failure(client.call(reload_to(config_of(rig, OTHER))))

        assert told == (
            "DEADLINE_EXCEEDED",
            "After 0.5 s these models were not settled: other (still loading)",
        )
        await client.predict(1)

    async def test_a_reload_ends_when_its_caller_leaves(self, rig: Rig) -> None:
        rig.held.add(f"{OTHER}:5")
        client = await rig.start()
        rig.add_version(5, OTHER)

        call = client.begin(reload_to(config_of(rig, OTHER)))
        await rig.until_states({5: State.LOADING}, OTHER)
        call.cancel()
        await soon(client.call(reload_to(config_of(rig, NAME))))
        rig.loaders[f"{OTHER}:5"].release.set()

        await rig.until_states({5: State.END}, OTHER)
        assert rig.server.models.current.names == {NAME}

    async def test_a_reload_ends_at_its_deadline(self, rig: Rig) -> None:
        rig.held.add(f"{OTHER}:5")
        client = await rig.start()
        rig.add_version(5, OTHER)

        code, _ = await failure(client.call(reload_to(config_of(rig, OTHER)), timeout_s=0.5))
        rig.loaders[f"{OTHER}:5"].release.set()

        assert code == "DEADLINE_EXCEEDED"
        await rig.until_states({5: State.END}, OTHER)
        assert rig.server.models.current.names == {NAME}

    async def test_a_newer_reload_takes_the_place_of_an_older_one(self, rig: Rig) -> None:
        rig.held.add(f"{OTHER}:5")
        client = await rig.start()
        rig.add_version(5, OTHER)

        first = client.begin(reload_to(config_of(rig, OTHER)))
        await rig.until_states({5: State.LOADING}, OTHER)
        await soon(client.call(reload_to(config_of(rig, NAME))))
        rig.loaders[f"{OTHER}:5"].release.set()

        assert await failure(first) == (
            "ABORTED",
            "The reload was given up, as a newer one has come",
        )
        assert rig.server.models.current.names == {NAME}
        await rig.until_states({5: State.END}, OTHER)

    async def test_while_a_reload_waits_requests_are_answered_and_versions_follow(
        self, rig: Rig
    ) -> None:
        rig.held.add(f"{OTHER}:5")
        client = await rig.start()
        rig.add_version(5, OTHER)

        reload = client.begin(reload_to(config_of(rig, NAME), config_of(rig, OTHER)))
        await rig.until_states({5: State.LOADING}, OTHER)
        rig.add_version(2)
        await rig.until_states({2: State.AVAILABLE})

        assert (await client.predict(1)).model_spec.version.value == 2
        rig.loaders[f"{OTHER}:5"].release.set()
        await soon(reload)


class TestWithoutAdministration:
    async def test_a_reload_is_refused_and_changes_nothing(self, rig: Rig) -> None:
        client = await rig.start(enable_admin=False)
        reload = ReloadConfigRequest(config=ModelServerConfig(model_config_list=ModelConfigList()))

        assert await failure(client.call(reload)) == (
            "PERMISSION_DENIED",
            "HandleReloadConfigRequest is turned off here (--enable_admin=false)",
        )
        assert await status(client) == [(1, "AVAILABLE")]
