import type { RouteContract } from '@inference-server/contracts';

/** One request that carries a foreign value in one place. */
export interface EchoRequest {
  where: string;
  method: string;
  /** As it stands in the request line. */
  path: string;
  headers: Record<string, string>;
  body?: string;
}

/** What the addresses and bodies of valid requests are made of, by the name of the parameter. */
export type Samples = Readonly<Record<string, string>>;

/** What may stand in a header and is looked at somewhere, or might be. */
const headerNames = [
  'accept',
  'accept-encoding',
  'content-encoding',
  'content-type',
  'cookie',
  'forwarded',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'origin',
  'range',
  'referer',
  'user-agent',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-request-id',
];

/** Every place of a route that a caller can put a value: path, query, headers, form, body. */
export function* requestsWith(
  contract: RouteContract,
  value: string,
  samples: Samples,
): Generator<EchoRequest> {
  const { method } = contract;
  const params = Object.keys(contract.params?.properties ?? {});
  const query = Object.keys(contract.query?.properties ?? {});
  const required = (contract.query as { required?: string[] } | undefined)?.required ?? [];
  const usual = Object.fromEntries(required.map((name) => [name, samples[name] ?? 'x']));
  const path = (changed: Samples = {}) =>
    contract.path.replace(/:(\w+)/g, (_match, name: string) =>
      encodeURIComponent(changed[name] ?? samples[name] ?? 'x'),
    );
  const target = (values: Record<string, string>, address = path()) =>
    `${address}?${new URLSearchParams(values).toString()}`;
  const plain = { method, headers: {} };

  for (const name of params) {
    yield { where: `path ${name}`, ...plain, path: target(usual, path({ [name]: value })) };
  }
  yield { where: 'end of path', ...plain, path: `${path()}/${encodeURIComponent(value)}` };
  for (const name of query) {
    yield { where: `query ${name}`, ...plain, path: target({ ...usual, [name]: value }) };
    const twice = `&${name}=${encodeURIComponent(value)}`;
    yield { where: `${name} twice`, ...plain, path: target({ ...usual, [name]: 'x' }) + twice };
  }
  yield { where: 'name in query', ...plain, path: target({ ...usual, [value]: '1' }) };
  yield { where: 'other method', method: 'PATCH', headers: {}, path: target({ a: value }) };
  for (const name of headerNames) {
    yield { where: `header ${name}`, method, path: target(usual), headers: { [name]: value } };
  }
  if (contract.body === undefined) {
    yield { where: 'body that is not taken', ...plain, path: target(usual), body: value };
  } else {
    for (const [where, type, body] of bodiesWith(value)) {
      const headers = { 'content-type': type };
      yield { where, method, path: target(usual), headers, body };
    }
  }
}

function bodiesWith(value: string): [where: string, type: string, body: string][] {
  const form = 'multipart/form-data; boundary=b';
  const part = (name: string, fileName: string, content: string) =>
    `--b\r\nContent-Disposition: form-data; name="${name}"; filename="${fileName}"\r\n` +
    `Content-Type: text/plain\r\n\r\n${content}\r\n`;
  const quoted = value.replaceAll('"', '%22');
  return [
    ['zip', 'application/zip', value],
    ['text', 'text/plain', value],
    ['JSON text', 'application/json', JSON.stringify(value)],
    ['JSON cut', 'application/json', `{"${quoted}`],
    ['JSON value', 'application/json', JSON.stringify({ holder: [value], epoch: value })],
    ['JSON name', 'application/json', JSON.stringify({ [value]: 1 })],
    ['form content', form, `${part('zip_file', 'a.zip', value)}--b--\r\n`],
    ['form file name', form, `${part('zip_file', quoted, 'PK')}--b--\r\n`],
    ['form part name', form, `${part(quoted, 'a.zip', 'PK')}--b--\r\n`],
    ['form part head', form, `--b\r\n${value}: ${value}\r\n\r\n--b--\r\n`],
    ['form cut', form, part('zip_file', quoted, value)],
    ['form boundary', `multipart/form-data; boundary="${quoted}"`, value],
  ];
}
