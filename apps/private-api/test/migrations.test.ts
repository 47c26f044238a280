import { describe, expect, it } from 'vitest';
import { createTestDatabase } from '@inference-server/testing';
import { applyMigrations, schemaSql } from '../src/database/migrations.js';

describe('applyMigrations', () => {
  it('applies each migration once, also when two processes start at the same time', async () => {
    const { url, query } = await createTestDatabase({ empty: true });
    const applied = await Promise.all([applyMigrations(url), applyMigrations(url)]);
    expect(applied.filter((names) => names.length > 0)).toHaveLength(1);
    expect(await applyMigrations(url)).toEqual([]);
    const rows = await query('SELECT migration_name, finished_at FROM _prisma_migrations');
    expect(rows.map((row) => row['migration_name'])).toEqual(applied.flat());
    expect(rows.filter((row) => row['finished_at'] === null)).toEqual([]);
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
