import { isDeepStrictEqual } from 'node:util';
import type { GatewayNews, HostedModel } from '@inference-server/contracts';

/** The runtime models that there are, as private-api last said. */
export interface HostedModels {
  apply(news: GatewayNews): void;
  /** Whether anything was ever said. */
  isKnown(): boolean;
  /** The versions of a model that may be asked, the newest first; the current one is among them. */
  versionsOf(name: string): readonly HostedModel[];
  /** Those before a version that take the same calls. */
  olderAlike(model: HostedModel): readonly HostedModel[];
  get(modelVersionId: string): HostedModel | undefined;
  /** Why a version has no replica, or too few. */
  troubleOf(modelVersionId: string): string | undefined;
}

export function createHostedModels(): HostedModels {
  let known = false;
  let byId = new Map<string, HostedModel>();
  let byName = new Map<string, HostedModel[]>();
  let troubles = new Map<string, string>();

  return {
    apply({ models, trouble }) {
      known = true;
      troubles = new Map(trouble.map((one) => [one.model_version_id, one.detail]));
      if (models === undefined) return;
      byId = new Map(models.map((model) => [model.model_version_id, model]));
      byName = new Map();
      for (const model of [...models].sort((a, b) => b.version - a.version)) {
        const versions = byName.get(model.human_readable_id);
        if (versions === undefined) byName.set(model.human_readable_id, [model]);
        else versions.push(model);
      }
    },
    isKnown: () => known,
    versionsOf: (name) => byName.get(name) ?? [],
    olderAlike: ({ human_readable_id: name, version, contract }) =>
      (byName.get(name) ?? []).filter(
        (other) => other.version < version && isDeepStrictEqual(other.contract, contract),
      ),
    get: (modelVersionId) => byId.get(modelVersionId),
    troubleOf: (modelVersionId) => troubles.get(modelVersionId),
  };
}
