-- AlterEnum
ALTER TYPE "consumer_state" ADD VALUE 'reconciling' BEFORE 'engine_away';
