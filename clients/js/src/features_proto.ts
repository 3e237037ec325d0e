// Examples, the input of classify and regress: features by name -> tensorflow.Example.

import { type FeatureList, type FeatureMap, featureList } from "./features.js";
import type { Example } from "./gen/tensorflow/core/example/example.js";
import type { Feature } from "./gen/tensorflow/core/example/feature.js";
import type { Input } from "./gen/tensorflow_serving/apis/input.js";

/** Return the input message of `examples` and what they share. */
export function inputMessage(
  examples: readonly FeatureMap[],
  context: FeatureMap | undefined,
): Input {
  const list = examples.map(example);
  return {
    kind:
      context === undefined
        ? { $case: "exampleList", value: { examples: list } }
        : {
            $case: "exampleListWithContext",
            value: { examples: list, context: example(context) },
          },
  };
}

function example(features: FeatureMap): Example {
  const entries = Object.entries(features).map(
    ([name, value]) => [name, featureMessage(featureList(name, value))] as const,
  );
  return { features: { feature: new Map(entries) } };
}

function featureMessage(list: FeatureList): Feature {
  switch (list.kind) {
    case "bytes":
      return { kind: { $case: "bytesList", value: { value: [...list.values] } } };
    case "floats":
      return { kind: { $case: "floatList", value: { value: [...list.values] } } };
    case "integers":
      return { kind: { $case: "int64List", value: { value: [...list.values] } } };
  }
}
