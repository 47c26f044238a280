/** Of DOS in the United States, which APPNOTE (appendix D) gives to names that are not flagged as UTF-8. */
export function fromCodePage437(bytes: Uint8Array): string {
  return decode(bytes, upperHalf437);
}

/**
 * As unzip 6.0 writes the names of DOS and OS/2: from code page 850 into the one sign of ISO 8859-1 that it
 * takes for the most similar. Many letters become the same sign, some of ASCII, and one becomes nothing.
 * Measured.
 */
export function asUnzipWrites(bytes: Uint8Array): string {
  return decode(bytes, upperHalfOfUnzip).replaceAll(nothing, '');
}

/** Letter by letter joined, long names would fill the memory with their pieces. */
function decode(bytes: Uint8Array, upperHalf: string): string {
  const letters = Buffer.allocUnsafe(2 * bytes.length);
  bytes.forEach((byte, index) => {
    const letter = byte < 0x80 ? byte : upperHalf.charCodeAt(byte - 0x80);
    letters.writeUInt16LE(letter, 2 * index);
  });
  return letters.toString('utf16le');
}

const upperHalf437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐' +
  '└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0';
const nothing = '\ufffd';
const upperHalfOfUnzip =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûù\ufffdÖÜø£Ø×\u0083áíóúñÑªº¿®¬½¼¡«»¦¦¦¦¦ÁÂÀ©¦¦++¢¥+' +
  '+--+-+ãÃ++--¦-+¤ðÐÊËÈiÍÎÏ++¦_¦Ì¯ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±=¾¶§÷¸°¨·¹³²¦\u00a0';
