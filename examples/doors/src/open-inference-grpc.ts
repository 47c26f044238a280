import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { GRPC_ADDRESS = '127.0.0.1:8500', API_KEY } = process.env;
const protos = loadSync('inference/grpc_service.proto', {
  includeDirs: ['packages/protos/proto'],
  keepCase: true,
});
const { inference } = loadPackageDefinition(protos) as any;
const server = new inference.GRPCInferenceService(GRPC_ADDRESS, credentials.createInsecure());

const request = {
  model_name: 'iris',
  inputs: [
    {
      name: 'measurements',
      datatype: 'FP32',
      shape: [1, 4],
      contents: { fp32_contents: [5.1, 3.5, 1.4, 0.2] },
    },
  ],
  outputs: [{ name: 'species' }],
};
const metadata = Metadata.fromHttp2Headers({ authorization: `Bearer ${API_KEY}` });
server.ModelInfer(request, metadata, (error: unknown, answer: any) => {
  if (error) throw error;
  // A text in bytes is its length in four bytes, and it.
  console.log(String(answer.raw_output_contents[0].subarray(4)));
});
