-- Gives back what a consumer holds without knowing it: it was claimed, and the answer was lost. Counts no loss. ARGV: start,
-- the tags that it knows.

local kept = {}
for index = 2, #ARGV do kept[ARGV[index]] = true end
give_back(ARGV[1], 0, kept)
return 1
