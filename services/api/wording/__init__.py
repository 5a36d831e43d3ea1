"""What customers read, from values alone: no database, no request.

amounts     credits as decimals
approvals   what waits for another person
changes     what people decided
balances    what a team has
downloads   a line of the activity as a spreadsheet has it
entries     the activity in words, and everything that an entry follows from
links       addresses that others have named
reversals   money that went back
statement_page   a statement as a page to print
statement_words  what it says, in each language
top_ups     settings of top-ups, and what is wrong with them
usage_sums  what was used, added up
values      JSON
"""
