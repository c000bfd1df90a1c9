/**
 * The header by which the legacy SDKs know the server, and what it says: that of the last version whose API this is, and that it is
 * another one. They warn when it is not a version, or an older one than they are made for.
 */
export const ZEP_VERSION = ["x-zep-version", "0.27.2-sessions"] as const;
