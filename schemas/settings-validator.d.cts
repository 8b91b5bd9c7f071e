import type { ErrorObject } from 'ajv';

/** Made by the build out of settings-schema.ts (deploy/settings-validator.ts): checks settings and fills in defaults. */
declare const validate: {
  (candidate: unknown): boolean;
  errors?: ErrorObject[] | null;
  /** The schema itself. */
  readonly schema: {
    readonly properties: Readonly<
      Record<string, { readonly properties?: Readonly<Record<string, { readonly type?: string }>> }>
    >;
  };
};
export = validate;
