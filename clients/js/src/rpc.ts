// The services of proto/, over any transport of Connect: gRPC, gRPC-Web, Connect.

import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageShape,
} from "@bufbuild/protobuf";
import { anyUnpack, Int64ValueSchema } from "@bufbuild/protobuf/wkt";
import { ConnectError, type Transport as ConnectTransport } from "@connectrpc/connect";
import { ERROR_CODES, type ErrorCode, SigrunError, unreachable } from "./errors.js";
import { inputMessage } from "./features_proto.js";
import { ClassificationRequestSchema } from "./gen/tensorflow_serving/apis/classification_pb.js";
import {
  GetModelMetadataRequestSchema,
  SignatureDefMapSchema,
} from "./gen/tensorflow_serving/apis/get_model_metadata_pb.js";
import {
  GetModelStatusRequestSchema,
  ModelVersionStatus_State,
} from "./gen/tensorflow_serving/apis/get_model_status_pb.js";
import { type ModelSpec, ModelSpecSchema } from "./gen/tensorflow_serving/apis/model_pb.js";
import { ModelService } from "./gen/tensorflow_serving/apis/model_service_pb.js";
import { PredictionService } from "./gen/tensorflow_serving/apis/prediction_service_pb.js";
import { RegressionRequestSchema } from "./gen/tensorflow_serving/apis/regression_pb.js";
import { signaturesOf } from "./metadata_proto.js";
import { PREDICT, readReply, writeRequest } from "./predict_proto.js";
import type { AnsweredBy, CallOptions, ModelTarget, Transport, VersionState } from "./transport.js";

const SIGNATURES = "signature_def";

/**
 * Return a transport over one of Connect's, which must use the binary format.
 *
 * For what `connectTransport`, `grpcWebTransport` and `grpcTransport` have no option for.
 * `baseUrl` is for errors, to name the server that is not reached.
 */
export function rpcTransport(connect: ConnectTransport, baseUrl?: string): Transport {
  async function call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    { signal, timeoutMs, headers }: CallOptions,
  ): Promise<MessageShape<O>> {
    try {
      // biome-ignore lint/suspicious/noExplicitAny: a message is an initialiser of itself
      const input = request as any;
      return (await connect.unary(method, signal, timeoutMs, headers, input)).message;
    } catch (error) {
      throw fromConnect(error, signal, baseUrl);
    }
  }

  return {
    async predict({ target, inputs, outputFilter }, options) {
      const request = writeRequest(specOf(target), inputs, outputFilter);
      const { modelSpec, outputs } = readReply(await call(PREDICT, request, options));
      return { ...answeredBy(modelSpec, target), outputs };
    },

    async classify({ target, examples, context }, options) {
      const request = create(ClassificationRequestSchema, {
        modelSpec: specOf(target),
        input: inputMessage(examples, context),
      });
      const reply = await call(PredictionService.method.classify, request, options);
      const results = (reply.result?.classifications ?? []).map(({ classes }) =>
        classes.map(({ label, score }) => ({ label, score })),
      );
      return { ...answeredBy(reply.modelSpec, target), results };
    },

    async regress({ target, examples, context }, options) {
      const request = create(RegressionRequestSchema, {
        modelSpec: specOf(target),
        input: inputMessage(examples, context),
      });
      const reply = await call(PredictionService.method.regress, request, options);
      const results = (reply.result?.regressions ?? []).map(({ value }) => value);
      return { ...answeredBy(reply.modelSpec, target), results };
    },

    async metadata(target, options) {
      const request = create(GetModelMetadataRequestSchema, {
        modelSpec: specOf(target),
        metadataField: [SIGNATURES],
      });
      const reply = await call(PredictionService.method.getModelMetadata, request, options);
      const packed = reply.metadata[SIGNATURES];
      const map = packed && anyUnpack(packed, SignatureDefMapSchema);
      if (map === undefined) {
        throw new SigrunError("DATA_LOSS", `The metadata of ${target.model} has no signatures`);
      }
      const { model, version } = answeredBy(reply.modelSpec, target);
      return { model, version, signatures: signaturesOf(map) };
    },

    async status(target, options) {
      const request = create(GetModelStatusRequestSchema, { modelSpec: specOf(target) });
      const reply = await call(ModelService.method.getModelStatus, request, options);
      return reply.modelVersionStatus.map(({ version, state, status }) => ({
        version,
        state: (ModelVersionStatus_State[state] ?? "UNKNOWN") as VersionState,
        code: codeName(status?.errorCode ?? 0),
        error: status?.errorMessage ?? "",
      }));
    },
  };
}

function specOf({ model, version, label, signature }: ModelTarget): ModelSpec {
  const spec = create(ModelSpecSchema, { name: model, signatureName: signature });
  if (version !== undefined) {
    spec.versionChoice = { case: "version", value: create(Int64ValueSchema, { value: version }) };
  } else if (label !== undefined) {
    spec.versionChoice = { case: "versionLabel", value: label };
  }
  return spec;
}

function answeredBy(spec: ModelSpec | undefined, target: ModelTarget): AnsweredBy {
  const choice = spec?.versionChoice;
  return {
    model: spec?.name || target.model,
    version: choice?.case === "version" ? choice.value.value : undefined,
    signature: spec?.signatureName || target.signature || "serving_default",
  };
}

function fromConnect(
  reason: unknown,
  signal: AbortSignal | undefined,
  baseUrl: string | undefined,
): SigrunError {
  const error = ConnectError.from(reason);
  if (signal?.aborted) {
    return new SigrunError("CANCELLED", "The call was aborted", { cause: signal.reason });
  }
  // What `fetch` rejects with when nobody answers, or the browser does not let the page see it.
  if (error.cause instanceof TypeError) {
    return unreachable(baseUrl, error.cause);
  }
  return new SigrunError(codeOf(error.code), error.rawMessage, { cause: error });
}

function codeName(number: number): ErrorCode | "OK" {
  return number === 0 ? "OK" : codeOf(number);
}

function codeOf(number: number): ErrorCode {
  return ERROR_CODES[number - 1] ?? "UNKNOWN";
}
