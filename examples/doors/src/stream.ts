import { credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { GRPC_ADDRESS = '127.0.0.1:8500', API_KEY } = process.env;
const protos = loadSync('redhare/inference.proto', { includeDirs: ['packages/protos/proto'] });
const { redhare } = loadPackageDefinition(protos) as any;
const inferenceAt = (address: string) =>
  new redhare.Inference(address, credentials.createInsecure());

const attributes = { model_name: 'iris', token: API_KEY };
inferenceAt(GRPC_ADDRESS).auth({ attributes }, (error: unknown, granted: any) => {
  if (error) throw error;
  const stream = inferenceAt(granted.url).stream_infer();
  stream.on('data', (answer: any) => console.log(...JSON.parse(answer.data).species));
  stream.write({ token: granted.token });
  for (const flower of [
    [5.1, 3.5, 1.4, 0.2],
    [6.3, 3.3, 6.0, 2.5],
  ]) {
    stream.write({ data: Buffer.from(JSON.stringify({ measurements: [flower] })) });
  }
  stream.end();
});
