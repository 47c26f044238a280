import { addressesOf } from './addresses.js';
import type { StandaloneConfig } from './config.js';
import type { DataFolder } from './data-folder.js';

/** Tells where everything is, once it is up. */
export function announce(
  config: StandaloneConfig,
  folder: DataFolder,
  print: (text: string) => void,
): void {
  const { publicApi, privateApi, grpc, zerorpc } = addressesOf(config);
  print(
    [
      '',
      'InferenceServer is up. Ctrl-C stops it.',
      `  public API    ${publicApi}        page: ${publicApi}/docs`,
      `  admin key     ${folder.path}/admin.key`,
      `  gRPC          ${grpc}        tensorflow.serving, redhare, invocation.v1, inference`,
      `  ZeroRPC       ${zerorpc}  ModelZeroRPCService`,
      `  private API   ${privateApi}        page: ${privateApi}/docs`,
      `  its token     ${config.privateApiToken === undefined ? folder.tokenFile : 'the one of PRIVATE_API_TOKEN'}`,
      `  data          ${folder.path}`,
      `  logs          ${folder.path}/logs`,
      ...(config.allowPublicPostModel === undefined
        ? [
            'Models are posted to the private API, or to the public one with ALLOW_PUBLIC_POST_MODEL=1.',
          ]
        : []),
    ].join('\n'),
  );
}
