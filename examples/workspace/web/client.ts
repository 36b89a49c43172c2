/**
 * The client for browsers: submits a request and waits for its answer.
 */
import { z } from "zod";
import { backoff } from "./backoff.js";

export interface Answer {
  id: string;
  status: Status;
}

export enum Status {
  Pending = "pending",
  Done = "done",
}

export type Listener = (answer: Answer) => void;

const answerSchema = z.object({ id: z.string(), status: z.nativeEnum(Status) });

/** Talks to one server. */
export class Client {
  #listeners: Listener[] = [];

  constructor(private readonly base: string) {}

  /** Calls the listener with every answer. */
  onAnswer(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Asks until the answer is there, or the attempts are used up. */
  async wait(id: string, attempts = 5): Promise<Answer> {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const answer = await this.fetchOnce(id);
      if (answer !== null && answer.status === Status.Done) {
        this.#listeners.forEach((listener) => listener(answer));
        return answer;
      }
      await backoff(attempt);
    }
    throw new Error(`no answer for ${id} after ${attempts} attempts`);
  }

  private async fetchOnce(id: string): Promise<Answer | null> {
    const response = await fetch(`${this.base}/requests/${encodeURIComponent(id)}`);
    return response.ok ? answerSchema.parse(await response.json()) : null;
  }
}

export const connect = (base: string): Client => new Client(base);
