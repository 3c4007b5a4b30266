// Explains a picture on an onnxplain server, straight from the .proto files:
//   npm install --prefix clients/node
//   node clients/node/explain.mjs HOST:PORT MODEL IMAGE OUT.png [METHOD]
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";
import protobuf from "protobufjs";

const [address, model, image, output, method = "grad_cam"] = process.argv.slice(2);
if (!output) {
  console.error("usage: node explain.mjs HOST:PORT MODEL IMAGE OUT.png [METHOD]");
  process.exit(2);
}

// The files import each other as onnxplain/proto/FILE.proto; here they lie in one folder.
const folder = fileURLToPath(new URL("../../proto", import.meta.url));
const root = new protobuf.Root();
root.resolvePath = (_, file) => join(folder, basename(file));
root.loadSync("explain.proto", { keepCase: true });
const loaded = fromJSON(root.toJSON(), { keepCase: true, longs: Number, defaults: true });
const { ExplainService } = grpc.loadPackageDefinition(loaded).onnxplain.v1;

const limit = 64 * 2 ** 20;
const client = new ExplainService(address, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": limit,
  "grpc.max_send_message_length": limit,
});
const request = {
  model: { name: model },
  method: { [method]: {} },
  input: { image: { data: readFileSync(image) } },
  output: { heatmap: true, prediction: true, overlay: {} },
};
client.Explain(request, { deadline: Date.now() + 60_000 }, (error, response) => {
  client.close();
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
    return;
  }
  const [{ class_index, label, score, heatmap, overlay_png }] = response.attributions;
  writeFileSync(output, overlay_png);
  const { buffer, byteOffset, length } = Uint8Array.from(heatmap.data);
  const values = new Float32Array(buffer, byteOffset, length / 4);
  const [rows, columns] = heatmap.shape;
  const peak = values.indexOf(values.reduce((a, b) => Math.max(a, b)));
  const at = `row ${Math.floor(peak / columns)}, column ${peak % columns} of ${rows} x ${columns}`;
  console.log(`${method} of ${label || `class ${class_index}`} (${score.toFixed(3)}): peak at ${at}`);
});
