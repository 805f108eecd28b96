/** What a title with its sentence is made of. */

export type Tone = "calm" | "turn" | "good" | "warn" | "bad";

export interface Words {
  title: string;
  text: string;
  tone: Tone;
}
