// Calls a server with @grpc/grpc-js. Arguments: the folder of its node_modules, the address, the
// serialized Predict request in hex. Prints what came of it as JSON.

import { createRequire } from "node:module";

const [folder, address, request] = process.argv.slice(2);
const grpc = createRequire(`${folder}/package.json`)("@grpc/grpc-js");

const bytes = {
  requestSerialize: (b) => b,
  requestDeserialize: (b) => b,
  responseSerialize: (b) => b,
  responseDeserialize: (b) => b,
};
const client = new grpc.Client(address, grpc.credentials.createInsecure());

function unary(path, body) {
  return new Promise((resolve) => {
    const answer = { code: 0, details: "", reply: "", id: "" };
    const call = client.makeUnaryRequest(
      path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
      body,
      new grpc.Metadata(),
      { deadline: Date.now() + 20_000 },
      (error, reply) => {
        if (reply) answer.reply = reply.toString("hex");
      },
    );
    call.on("status", ({ code, details, metadata }) => {
      resolve(Object.assign(answer, { code, details, id: metadata.get("x-request-id")[0] ?? "" }));
    });
  });
}

function firstOfStream(path) {
  return new Promise((resolve, reject) => {
    const stream = client.makeServerStreamRequest(
      path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
      Buffer.alloc(0),
      new grpc.Metadata(),
      {},
    );
    stream.on("error", (error) => error.code === grpc.status.CANCELLED || reject(error));
    stream.once("data", (message) => {
      stream.cancel();
      resolve(message.toString("hex"));
    });
  });
}

const predict = "/tensorflow.serving.PredictionService/Predict";
const answers = {
  predict: await unary(predict, Buffer.from(request, "hex")),
  many: await Promise.all(
    Array.from({ length: 200 }, () => unary(predict, Buffer.from(request, "hex"))),
  ),
  garbage: await unary(predict, Buffer.from([255, 255])),
  unknown: await unary("/tensorflow.serving.PredictionService/Guess", Buffer.alloc(0)),
  watch: await firstOfStream("/grpc.health.v1.Health/Watch"),
};
answers.many = answers.many.filter((answer) => answer.reply === answers.predict.reply).length;
console.log(JSON.stringify(answers));
client.close();
