import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { PrismaPg } from '@prisma/adapter-pg';
import type { Pool } from 'pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import * as bindings from '@prisma/schema-engine-wasm/schema_engine_bg';

export interface OpenEngine {
  engine: bindings.SchemaEngine;
  /** What Postgres said of a script that it refused, told once; the engine's own error hides that. */
  takeRefusal(): unknown;
}

/**
 * Prisma's schema engine as WebAssembly, which comes from npm: migrations need neither Prisma's
 * command nor a download. A script waits for each lock for `lockTimeoutMs`, and notes in its own
 * transaction that it is done.
 */
export async function openSchemaEngine(
  pool: Pool,
  schema: { path: string; content: string },
  lockTimeoutMs: number,
): Promise<OpenEngine> {
  await loadEngine();
  const scripts = new WholeScripts(pool, lockTimeoutMs);
  const engine = await bindings.SchemaEngine.new(
    { datamodels: [[schema.path, schema.content]] },
    () => undefined,
    bindMigrationAwareSqlAdapterFactory(scripts),
  );
  return { engine, takeRefusal: () => scripts.takeRefusal() };
}

/**
 * The adapter cuts a script at every semicolon, also inside a function's body, and runs the pieces
 * one by one. Sent whole it is one implicit transaction: a migration is applied or it is not.
 */
class WholeScripts extends PrismaPg {
  readonly #pool: Pool;
  readonly #lockTimeoutMs: number;
  #refusal: unknown;

  constructor(pool: Pool, lockTimeoutMs: number) {
    super(pool);
    this.#pool = pool;
    this.#lockTimeoutMs = lockTimeoutMs;
  }

  takeRefusal(): unknown {
    const refusal = this.#refusal;
    this.#refusal = undefined;
    return refusal;
  }

  override async connect(): ReturnType<PrismaPg['connect']> {
    const adapter = await super.connect();
    return Object.assign(adapter, {
      executeScript: async (script: string) => {
        // Whoever waits for a lock on a table has all that come later wait behind it.
        const limits = `SET LOCAL lock_timeout = ${this.#lockTimeoutMs};`;
        try {
          await this.#pool.query([limits, noteDone, script].join('\n'));
        } catch (error) {
          this.#refusal = error;
          throw error;
        }
      },
    });
  }
}

/**
 * Whoever migrates may be killed: before the COMMIT, which Postgres may do all the same, or between it
 * and the engine's own note. So the script carries the note. It comes first, which holds back who would
 * give the migration up while the script is under way still, and a script that was given up does nothing.
 */
const noteDone = `DO $note$
BEGIN
  UPDATE _prisma_migrations SET finished_at = now()
   WHERE finished_at IS NULL AND rolled_back_at IS NULL;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'this migration was given up: another process applies it';
  END IF;
END
$note$;`;

let loading: Promise<void> | undefined;

function loadEngine(): Promise<void> {
  loading ??= instantiate();
  return loading;
}

async function instantiate(): Promise<void> {
  const name = 'schema_engine_bg';
  const resolved = createRequire(import.meta.url).resolve(`@prisma/schema-engine-wasm/${name}`);
  const wasm = await readFile(join(dirname(resolved), `${name}.wasm`));
  const { instance } = await WebAssembly.instantiate(wasm, { [`./${name}.js`]: glue });
  glue.__wbg_set_wasm(instance.exports);
  (instance.exports['__wbindgen_start'] as () => void)();
}

/** The generated module under the types that its declaration leaves out. */
const glue = bindings as unknown as WebAssembly.ModuleImports & {
  __wbg_set_wasm(exports: WebAssembly.Exports): void;
};
