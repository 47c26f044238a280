import { describe, expect, it } from 'vitest';
import { createTestDatabase } from '@inference-server/testing';
import { applyMigrations, schemaSql } from '../src/database/migrations.js';

describe('applyMigrations', () => {
  it('applies each migration once, also when two processes start at the same time', async () => {
    const { url, query } = await createTestDatabase({ empty: true });
    const applied = await Promise.all([applyMigrations(url), applyMigrations(url)]);
    const names = applied.flat();
    expect(names.length).toBeGreaterThan(0);
    expect(new Set(names).size).toBe(names.length);
    expect(applied.map((own) => own.length).sort((a, b) => a - b)).toEqual([0, names.length]);
    expect(await applyMigrations(url)).toEqual([]);
    const rows = await query('SELECT finished_at IS NOT NULL AS done FROM _prisma_migrations');
    expect(rows).toEqual(names.map(() => ({ done: true })));
  });

  it('leads to the tables, columns and types that the schema describes', async () => {
    const migrated = await createTestDatabase({ empty: true });
    const described = await createTestDatabase({ empty: true });
    await applyMigrations(migrated.url);
    await described.query(await schemaSql(described.url));
    const columns = `SELECT table_name, column_name, udt_name, is_nullable, column_default
                       FROM information_schema.columns
                      WHERE table_schema = 'public' AND table_name <> '_prisma_migrations'
                      ORDER BY table_name, column_name`;
    const rows = await migrated.query(columns);
    expect(rows.length).toBeGreaterThan(50);
    expect(rows).toEqual(await described.query(columns));
  });
});
