"""The shapes of requests and answers.

Requests are validated by them; answers are built directly, and tests hold them to this.

parts       what the others are made of
examples    one morning of one team, shown in the OpenAPI document
reads       a team, its balance, what happened and why
statements  what happened in a sealed cycle
work        before work, while it runs and after it: quotes, holds, limits, usage
operators   what operators configure
money       packs, purchases, cards, automatic top-ups, and what Stripe says
"""
