import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { GRPC_ADDRESS = '127.0.0.1:8500', API_URL = 'http://127.0.0.1:8000' } = process.env;
const headers = { authorization: `Bearer ${process.env['API_KEY']}` };
const protos = loadSync('invocation/v1/invocation.proto', {
  includeDirs: ['packages/protos/proto'],
  keepCase: true,
});
const { invocation } = loadPackageDefinition(protos) as any;
const server = new invocation.v1.Invocation(GRPC_ADDRESS, credentials.createInsecure());

const model_input = {
  id: 17,
  content: JSON.stringify({ measurements: [[5.1, 3.5, 1.4, 0.2]] }),
  metadata: [{ key: 'model', value: 'iris' }],
};
server.Invoke(
  { model_input },
  Metadata.fromHttp2Headers(headers),
  (error: unknown, answer: any) => {
    if (error) throw error;
    if (answer.status !== 'OK') throw new Error(answer.message);
    void tellStored();
  },
);

async function tellStored() {
  const stored = await fetch(`${API_URL}/invocation/17`, { headers });
  const { metadata } = ((await stored.json()) as any).model_output;
  console.log(metadata.find(({ key }: any) => key === 'species').value);
}
