CREATE INDEX teams_to_seal ON teams (shard, team_id) WHERE sealed_cycle < cycle - 1;
