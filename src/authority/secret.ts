import { crc32 } from "node:zlib";

/**
 * Whose a newly minted secret is: a person's (`u`) or a service account's (`s`). Later the row decides, not
 * the text.
 */
export type KeyKind = "user" | "service";

/**
 * What an installation's secrets look like: its brand, brands it once had, and its region where it has one.
 */
export interface SecretFormat {
  readonly brand: string;
  readonly retiredBrands: readonly string[];
  readonly region: string | null;
}

/**
 * What the text of a secret says without asking storage. `ours` proves its form, never that it was issued.
 */
export type SecretForm = "ours" | "wrong_region" | "malformed";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY_LENGTH = 32;
const CHECKSUM_LENGTH = 6;
const TAIL_LENGTH = BODY_LENGTH + CHECKSUM_LENGTH;

// Ours have 73 characters at most; a text of megabytes must cost no more to refuse than one of 512.
const LONGEST_TEXT = 512;

// 248 is the largest multiple of 62 in a byte: taking higher bytes would favour the first eight characters.
const UNBIASED_BYTES = 256 - (256 % ALPHABET.length);

// Each draw gives 46 usable bytes of 48 on average; a source that needs more draws than this is broken.
const MOST_DRAWS = 64;

// The value of each base62 character, by its code.
const DIGITS = new Uint8Array(128);
for (let value = 0; value < ALPHABET.length; value++) DIGITS[ALPHABET.charCodeAt(value)] = value;

const BRAND = /^[a-z][a-z0-9]{0,15}$/;
const REGION = /^[a-z][a-z0-9-]{0,15}$/;

// Every repetition is bounded, so no text can make it backtrack far.
const SHAPE = /^([a-z][a-z0-9]{0,15}[us]_(?:[a-z][a-z0-9-]{0,15}_)?)[0-9A-Za-z]{38}$/;

/** Whether a text may be a brand: 1 to 16 lower-case letters and digits, a letter first. */
export function isBrand(text: string): boolean {
  return BRAND.test(text);
}

/** Whether a text may be a region: 1 to 16 lower-case letters, digits and hyphens, a letter first. */
export function isRegion(text: string): boolean {
  return REGION.test(text);
}

/**
 * Makes the plain text of a new secret: prefix, 32 characters of base62 (190 bits), and the CRC-32 of all
 * before it as six more, as GitHub's tokens do. `randomBytes` must be cryptographically secure; a stuck one
 * throws.
 */
export function mintSecret(
  format: SecretFormat,
  kind: KeyKind,
  randomBytes: (size: number) => Uint8Array,
): string {
  const prefix = `${format.brand}${kind === "user" ? "u" : "s"}_`;
  const region = format.region === null ? "" : `${format.region}_`;
  const text = prefix + region + drawBody(randomBytes);
  return text + checksumOf(text);
}

function drawBody(randomBytes: (size: number) => Uint8Array): string {
  let body = "";
  for (let draw = 0; draw < MOST_DRAWS; draw++) {
    for (const byte of randomBytes(48)) {
      if (byte < UNBIASED_BYTES) body += ALPHABET.charAt(byte % ALPHABET.length);
      if (body.length === BODY_LENGTH) return body;
    }
  }
  throw new Error("the random source gives no usable bytes");
}

/** CRC-32 (ISO 3309, as in zlib) in base62, left-padded with `0` to six characters. */
function checksumOf(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let place = 0; place < CHECKSUM_LENGTH; place++) {
    digits = ALPHABET.charAt(rest % ALPHABET.length) + digits;
    rest = Math.floor(rest / ALPHABET.length);
  }
  return digits;
}

/**
 * Judges the form of a text that claims to be one of our secrets, in time linear in at most 512 characters.
 * Another region is named only once the checksum has passed, so a mistyped secret is never sent looking
 * elsewhere.
 */
export function inspectSecret(text: string, format: SecretFormat): SecretForm {
  if (text.length > LONGEST_TEXT || !SHAPE.test(text)) return "malformed";
  const prefixEnd = text.indexOf("_");
  if (!isOurBrand(text.slice(0, prefixEnd - 1), format)) return "malformed";
  if (crc32(text.slice(0, -CHECKSUM_LENGTH)) !== checksumIn(text)) return "malformed";
  const bodyAt = text.length - TAIL_LENGTH;
  const region = prefixEnd === bodyAt - 1 ? null : text.slice(prefixEnd + 1, bodyAt - 1);
  return region === null || region === format.region ? "ours" : "wrong_region";
}

/** The number that the last six characters stand for; their being base62 was checked before. */
function checksumIn(text: string): number {
  let checksum = 0;
  for (let at = text.length - CHECKSUM_LENGTH; at < text.length; at++) {
    checksum = checksum * ALPHABET.length + (DIGITS[text.charCodeAt(at)] ?? 0);
  }
  return checksum;
}

function isOurBrand(brand: string, format: SecretFormat): boolean {
  return brand === format.brand || format.retiredBrands.includes(brand);
}

/**
 * The SHA-256 of a secret's UTF-8 text, in standard base64 with padding (44 characters): all that is ever
 * stored of it. The whole text is digested, however long (R33).
 */
export function digestOf(text: string): string {
  // Base64 over hex and Bun over node:crypto, measured on a 45-character key: 113 ns against 133 (Bun, hex),
  // 179 (node, base64) and 187 (node, hex).
  return Bun.SHA256.hash(text, "base64");
}

// Any brand: a secret of another installation is nobody's to keep either. Every repetition is bounded.
const INSIDE = /[a-z][a-z0-9]{0,15}[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{38}/g;

/** The text without anything in it that looks like a secret: for what strangers send and we keep or say back (R21). */
export function withoutSecrets(text: string): string {
  return text.replace(INSIDE, "[secret]");
}

/**
 * What lets a person recognise a secret: its prefix and last four characters, `kts_eu_…a1B2`. A foreign text
 * shows its last four only from 24 characters on, and nothing when it is shorter.
 */
export function hintOf(text: string): string {
  const prefix = text.length > LONGEST_TEXT ? undefined : SHAPE.exec(text)?.[1];
  if (prefix !== undefined) return `${prefix}…${text.slice(-4)}`;
  return text.length < 24 ? "…" : `…${text.slice(-4)}`;
}

/**
 * The source of a regular expression for secret scanners: any secret of the current or a retired brand,
 * whatever its region. It has no anchors, back-references or look-around (RE2 reads it); the checksum sorts
 * out what is not a secret.
 */
export function secretPattern(format: SecretFormat): string {
  const brands = [...new Set([format.brand, ...format.retiredBrands])];
  const brand = brands.length === 1 ? format.brand : `(?:${brands.join("|")})`;
  return `${brand}[us]_(?:[a-z][a-z0-9-]{0,15}_)?[0-9A-Za-z]{${TAIL_LENGTH}}`;
}
