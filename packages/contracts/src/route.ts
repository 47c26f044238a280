import type { Static, TObject, TSchema } from 'typebox';
import type { ErrorCode } from './codes.js';
import type { Role } from './roles.js';

/** Who may call a route of private-api. `anyone` needs no token. */
export type Caller = 'anyone' | 'public-api' | 'rpc-gateway' | 'consumer' | 'operator';

/** What a caller from outside needs: nothing, or a role. `internal`: it is not reached from outside. */
export type Access = 'open' | Role | 'internal';

/**
 * What the parameters of the path name. A `task` that is another's answers as if it did not exist. A
 * `model` is for everyone who may submit, and changed by who registered it. An `attempt` and a
 * `consumer` are the consumer's own. With the role `operate`, tasks and models are everybody's.
 */
export type NamedObject = 'none' | 'task' | 'model' | 'attempt' | 'consumer' | 'key' | 'user';

/** A body that carries one zip: a form with the file part `zip_file`, or the bare zip. */
export interface ZipUpload {
  kind: 'zip-upload';
  /** Whether a request without a zip is complete. */
  optional: boolean;
  /** Whether the form way (multipart/form-data) is offered beside the bare application/zip. */
  form: boolean;
  description: string;
}

export interface JsonBody {
  kind: 'json';
  schema: TSchema;
  /** Bytes may stand behind the JSON, whose length a header says then: schemas/oip.ts. */
  hasBytes?: true;
}

/** A head as JSON behind its length, then content that nobody has to parse; see schemas/invocation.ts. */
export interface HeadedBody {
  kind: 'headed';
  head: TSchema;
  description: string;
}

export type SuccessResponse =
  | { kind: 'json'; schema: TSchema; description: string; hasBytes?: true }
  | { kind: 'zip'; description: string }
  | { kind: 'text'; description: string }
  /** Lines of JSON, each of this schema. */
  | { kind: 'lines'; schema: TSchema; description: string };

/**
 * One route: the only description of it. Validation, relay, client and OpenAPI page are made from
 * this object.
 */
export interface RouteContract {
  operationId: string;
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** `:name` marks a parameter. Served with and without a trailing slash. */
  path: string;
  tag: string;
  summary: string;
  description?: string;
  params?: TObject;
  query?: TObject;
  /** Headers of its own, by their names in lower case. What else a request brings is let be. */
  headers?: TObject;
  body?: ZipUpload | JsonBody | HeadedBody;
  success: SuccessResponse;
  /** Every error this route answers with, beyond INTERNAL and SERVICE_UNAVAILABLE. */
  errors: readonly ErrorCode[];
  /** Who may do it, and to what: there is no route without a rule. */
  access: Access;
  object: NamedObject;
  callers: readonly Caller[];
  /** Who answers it, by a relay of public-api or by itself alone; left out: private-api. */
  servedBy?: 'rpc-gateway' | 'public-api';
  /** The longest time (s) that the server may hold an answer back on purpose. */
  heldForS?: number;
}

export function defineRoute<const Contract extends RouteContract>(contract: Contract): Contract {
  return contract;
}

type SchemaOf<Schema> = Schema extends TSchema ? Static<Schema> : Record<string, never>;

export type ParamsOf<Contract extends RouteContract> = SchemaOf<Contract['params']>;
export type QueryOf<Contract extends RouteContract> = SchemaOf<Contract['query']>;
export type HeadersOf<Contract extends RouteContract> = SchemaOf<Contract['headers']>;
export type BodyOf<Contract extends RouteContract> = Contract['body'] extends {
  kind: 'json';
  schema: infer Schema;
}
  ? SchemaOf<Schema>
  : never;
export type AnswerOf<Contract extends RouteContract> = Contract['success'] extends {
  kind: 'json';
  schema: infer Schema;
}
  ? SchemaOf<Schema>
  : never;
