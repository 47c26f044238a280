import { describe, expect, it } from 'vitest';
import {
  encodeOutputs,
  jsonFromPredictResponse,
  outlinePredictRequest,
  parseContractJson,
  predictRequestFromJson,
} from '@inference-server/protos';
import {
  modelFolder,
  pythonClient,
  startModel,
  typescriptClient,
} from '../../runtime-server/test/running-model.js';
import { contract, inputs } from '../demo.mjs';
import { createEchoModel } from '../src/echo-model.js';

describe('the echo model', () => {
  it('gives back what it gets', async () => {
    const model = await createEchoModel();
    const fields = parseContractJson(contract);
    const request = predictRequestFromJson(fields, JSON.stringify(inputs));
    const answer = Buffer.concat(encodeOutputs(model(outlinePredictRequest(request).inputs)));
    expect(JSON.parse(jsonFromPredictResponse(fields, answer))).toEqual(inputs);
  });

  it('does so for its clients in TypeScript and Python', async () => {
    const address = await startModel('echo', await modelFolder(contract));
    expect(JSON.parse(await typescriptClient('echo', [address, 'Grüße', '']))).toEqual({
      numbers: [0.5, 'Infinity'],
      ids: ['9223372036854775807'],
      texts: ['Grüße', ''],
      flag: true,
    });
    expect(await pythonClient('echo', [address, 'one', 'two'])).toBe('one two\n');
  });
});
