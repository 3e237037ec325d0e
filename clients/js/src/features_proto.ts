// Examples, the input of classify and regress: features by name -> tensorflow.Example.

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type FeatureList, type FeatureMap, featureList } from "./features.js";
import type { ExampleSchema } from "./gen/tensorflow/core/example/example_pb.js";
import { type Feature, FeatureSchema } from "./gen/tensorflow/core/example/feature_pb.js";
import { type Input, InputSchema } from "./gen/tensorflow_serving/apis/input_pb.js";

/** Return the input message of `examples` and what they share. */
export function inputMessage(
  examples: readonly FeatureMap[],
  context: FeatureMap | undefined,
): Input {
  const list = examples.map(example);
  return create(InputSchema, {
    kind:
      context === undefined
        ? { case: "exampleList", value: { examples: list } }
        : {
            case: "exampleListWithContext",
            value: { examples: list, context: example(context) },
          },
  });
}

function example(features: FeatureMap): MessageInitShape<typeof ExampleSchema> {
  const entries = Object.entries(features).map(([name, value]) => [
    name,
    featureMessage(featureList(name, value)),
  ]);
  return { features: { feature: Object.fromEntries(entries) } };
}

function featureMessage(list: FeatureList): Feature {
  switch (list.kind) {
    case "bytes":
      return create(FeatureSchema, {
        kind: { case: "bytesList", value: { value: [...list.values] } },
      });
    case "floats":
      return create(FeatureSchema, {
        kind: { case: "floatList", value: { value: [...list.values] } },
      });
    case "integers":
      return create(FeatureSchema, {
        kind: { case: "int64List", value: { value: [...list.values] } },
      });
  }
}
