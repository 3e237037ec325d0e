// The services of proto/, over whatever carries a unary RPC: gRPC, gRPC-Web, Connect.

import type { BinaryWriter } from "@bufbuild/protobuf/wire";
import { ERROR_CODES, type ErrorCode, SigrunError, textOf } from "./errors.js";
import { inputMessage } from "./features_proto.js";
import { type Decoder, messageOf } from "./fields.js";
import {
  ClassificationRequest,
  ClassificationResponse,
} from "./gen/tensorflow_serving/apis/classification.js";
import {
  GetModelMetadataRequest,
  GetModelMetadataResponse,
  SignatureDefMap,
} from "./gen/tensorflow_serving/apis/get_model_metadata.js";
import {
  GetModelStatusRequest,
  GetModelStatusResponse,
  ModelVersionStatus_State,
} from "./gen/tensorflow_serving/apis/get_model_status.js";
import type { ModelSpec } from "./gen/tensorflow_serving/apis/model.js";
import { RegressionRequest, RegressionResponse } from "./gen/tensorflow_serving/apis/regression.js";
import { signaturesOf } from "./metadata_proto.js";
import { readReply, writeRequest } from "./predict_proto.js";
import type { AnsweredBy, CallOptions, ModelTarget, Transport, VersionState } from "./transport.js";
import { METHODS, type Method, type Unary } from "./unary.js";

const SIGNATURES = "signature_def";

/** Return a transport that sends its messages by `unary`. */
export function protobufTransport(unary: Unary): Transport {
  async function call<T>(
    method: Method,
    request: BinaryWriter,
    reply: Decoder<T>,
    options: CallOptions,
  ): Promise<T> {
    const bytes = await unary(method, request.finish(), options);
    return decoded(bytes, (bytes) => messageOf(reply, bytes));
  }

  return {
    async predict({ target, inputs, outputFilter }, options) {
      const request = writeRequest(specOf(target), inputs, outputFilter);
      const reply = await unary(METHODS.predict, request, options);
      const { modelSpec, outputs } = decoded(reply, readReply);
      return { ...answeredBy(modelSpec, target), outputs };
    },

    async classify({ target, examples, context }, options) {
      const request = ClassificationRequest.encode({
        modelSpec: specOf(target),
        input: inputMessage(examples, context),
      });
      const reply = await call(METHODS.classify, request, ClassificationResponse, options);
      const results = (reply.result?.classifications ?? []).map(({ classes }) => classes);
      return { ...answeredBy(reply.modelSpec, target), results };
    },

    async regress({ target, examples, context }, options) {
      const request = RegressionRequest.encode({
        modelSpec: specOf(target),
        input: inputMessage(examples, context),
      });
      const reply = await call(METHODS.regress, request, RegressionResponse, options);
      const results = (reply.result?.regressions ?? []).map(({ value }) => value);
      return { ...answeredBy(reply.modelSpec, target), results };
    },

    async metadata(target, options) {
      const request = GetModelMetadataRequest.encode({
        modelSpec: specOf(target),
        metadataField: [SIGNATURES],
      });
      const reply = await call(METHODS.metadata, request, GetModelMetadataResponse, options);
      const packed = reply.metadata.get(SIGNATURES);
      if (!packed?.typeUrl.endsWith("/tensorflow.serving.SignatureDefMap")) {
        throw new SigrunError("DATA_LOSS", `The metadata of ${target.model} has no signatures`);
      }
      const map = decoded(packed.value, (bytes) => messageOf(SignatureDefMap, bytes));
      const { model, version } = answeredBy(reply.modelSpec, target);
      return { model, version, signatures: signaturesOf(map) };
    },

    async status(target, options) {
      const request = GetModelStatusRequest.encode({ modelSpec: specOf(target) });
      const reply = await call(METHODS.status, request, GetModelStatusResponse, options);
      return reply.modelVersionStatus.map(({ version, state, status }) => ({
        version,
        state: (ModelVersionStatus_State[state] ?? "UNKNOWN") as VersionState,
        code: codeName(status?.errorCode ?? 0),
        error: status?.errorMessage ?? "",
      }));
    },
  };
}

function decoded<T>(bytes: Uint8Array, decode: (bytes: Uint8Array) => T): T {
  try {
    return decode(bytes);
  } catch (error) {
    if (error instanceof SigrunError) {
      throw error;
    }
    const message = `The reply of ${bytes.length} bytes cannot be read: ${textOf(error)}`;
    throw new SigrunError("DATA_LOSS", message, { cause: error });
  }
}

function specOf({ model, version, label, signature }: ModelTarget): ModelSpec {
  const spec: ModelSpec = { name: model, versionChoice: undefined, signatureName: signature };
  if (version !== undefined) {
    spec.versionChoice = { $case: "version", value: version };
  } else if (label !== undefined) {
    spec.versionChoice = { $case: "versionLabel", value: label };
  }
  return spec;
}

function answeredBy(spec: ModelSpec | undefined, target: ModelTarget): AnsweredBy {
  const choice = spec?.versionChoice;
  return {
    model: spec?.name || target.model,
    version: choice?.$case === "version" ? choice.value : undefined,
    signature: spec?.signatureName || target.signature || "serving_default",
  };
}

function codeName(number: number): ErrorCode | "OK" {
  return number === 0 ? "OK" : (ERROR_CODES[number - 1] ?? "UNKNOWN");
}
