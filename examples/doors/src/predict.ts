import { credentials, loadPackageDefinition, Metadata } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const { GRPC_ADDRESS = '127.0.0.1:8500', API_KEY } = process.env;
const protos = loadSync('services/prediction_service.proto', {
  includeDirs: ['packages/protos/proto'],
  keepCase: true,
});
const { tensorflow } = loadPackageDefinition(protos) as any;
const server = new tensorflow.serving.PredictionService(GRPC_ADDRESS, credentials.createInsecure());

const measurements = {
  dtype: 'DT_FLOAT',
  tensor_shape: { dim: [{ size: 1 }, { size: 4 }] },
  float_val: [5.1, 3.5, 1.4, 0.2],
};
const request = { model_spec: { name: 'iris' }, inputs: { measurements } };
const metadata = Metadata.fromHttp2Headers({ authorization: `Bearer ${API_KEY}` });
server.Predict(request, metadata, (error: unknown, answer: any) => {
  if (error) throw error;
  console.log(String(answer.outputs.species.string_val[0]));
});
